"""The recorded cases still say what the reference says, and every split agrees with them."""
import pathlib

import pytest
import torch

from models.reference import fixtures
from models.reference.inference import Checkpoint
from models.reference.safetensors_io import load_checkpoint, load_file

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data" / "reference"


def row_errors(got, want):
    got, want = got.double(), want.double()
    return (got - want).norm(dim=1) / want.norm(dim=1)


@pytest.mark.parametrize("name", fixtures.CASES)
def test_float32_forward_gives_the_recorded_logits(name):
    expected = load_file(FOLDER / name / "expected.safetensors")
    checkpoint = Checkpoint.load(FOLDER / name)
    logits, _ = checkpoint.forward(expected["tokens"])
    bound = 1e-5 if checkpoint.config.torch_dtype == "float32" else 1e-2
    assert row_errors(logits, expected["logits"]).max() < bound


@pytest.mark.parametrize("name", fixtures.CASES)
def test_recorded_logits_are_reproduced_from_the_recorded_weights(name):
    expected = load_file(FOLDER / name / "expected.safetensors")
    logits, _ = Checkpoint.load(FOLDER / name, compute=torch.float64).forward(expected["tokens"])
    # Another BLAS may add in another order, and a left operand near a tie then rounds otherwise.
    bound = 1e-6 if fixtures.CASES[name][7] == "float32" else 1e-2
    assert row_errors(logits, expected["logits"]).max() < bound


def test_a_sharded_checkpoint_is_whole():
    folder = FOLDER / "hierarchical_sharded"
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    config = fixtures.case_config("hierarchical_sharded")
    assert set(load_checkpoint(folder)) == set(fixtures.random_tensors(config, 1))
