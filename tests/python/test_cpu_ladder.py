"""tests/bench/cpu_ladder.py: the verdicts it prints for given figures."""

import json
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[1] / "bench" / "cpu_ladder.py"


def verdicts(folder):
    """The lines by their goal."""
    done = subprocess.run(
        [sys.executable, SCRIPT, folder], capture_output=True, text=True, check=True
    )
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def row(batch, share, ratio, conclusive=True):
    return {
        "batch": batch,
        "share_of_ceiling": share,
        "share_iqr": 0.01,
        "ceiling_bytes_per_second": 3.5e10,
        "conclusive": conclusive,
        "peer_conclusive": conclusive,
        "step_ratio": 1.3 * ratio,
        "bytes_ratio": 1.3,
        "step_ratio_over_bytes_ratio": ratio,
    }


def test_says_met_missed_inconclusive_and_not_measured(tmp_path):
    rows = [row(1, 0.92, 1), row(8, 0.8, 1.25)]
    (tmp_path / "engine-125m.json").write_text(json.dumps({"rows": rows, "prefill": []}))
    rows = [row(1, 0.85, 1, conclusive=False), row(8, 0.8, 1.1)]
    (tmp_path / "engine-350m.json").write_text(json.dumps({"rows": rows, "prefill": []}))
    (tmp_path / "products.json").write_text("cut off")
    lines = verdicts(tmp_path)
    share = "G15 share of the ceiling, {}, batch 1"
    assert lines[share.format("125m")].startswith("0.920, wanted >= 0.9: met; ")
    assert lines[share.format("350m")].startswith(
        "0.850, wanted >= 0.9: inconclusive (missed by 0.050); "
    )
    ratio = "G19 (t8/t1)/(bytes8/bytes1), {}"
    assert ": missed by 0.150; " in lines[ratio.format("125m")]
    assert ": met; " in lines[ratio.format("350m")]
    missing = [line for line in lines.values() if line.startswith("not measured")]
    assert len(missing) == len(lines) - 4


def test_takes_products_without_a_peer_for_none(tmp_path):
    (tmp_path / "products.json").write_text(json.dumps({"peer": "", "products": []}))
    lines = verdicts(tmp_path)
    assert all(line.startswith("not measured") for line in lines.values())
