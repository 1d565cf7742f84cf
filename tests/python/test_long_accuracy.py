"""The server against the equations in float64, as long_accuracy.py measures it over long texts."""
import os
import pathlib

import pytest

from models.reference import long_accuracy

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOUND = 1e-5  # the model definition's, up to 8,192 tokens


@pytest.fixture
def driver():
    folder = pathlib.Path(os.environ.get("CHELA_BIN_DIR", ROOT / "build" / "release" / "bin"))
    program = folder / "long_run_driver"
    if not program.exists() and "CHELA_BIN_DIR" not in os.environ:
        pytest.skip(f"{program} is not built: run make test")
    assert program.exists(), program
    return program


def test_every_kernel_agrees_with_float64(driver):
    results = long_accuracy.measure_random([512, 2560], driver)
    assert len(results) == 4
    for result in results:
        for row in result["rows"]:
            assert 0 < row["logits_worst"] < BOUND, result["case"]
            assert 0 < row["attention_worst"] < BOUND, result["case"]
            if result["case"].startswith("hierarchical"):
                assert 0 < row["rings_worst"] < BOUND, result["case"]
