#!/usr/bin/env python3
"""Prints a line for each goal of the CPU engine from the JSON files that
cpu_ladder.sh left in a folder: what was measured, what is wanted, and the
verdict (met, missed by how much, inconclusive: its quartiles are more than 5%
apart or others used the machine, not measured: no such file)."""

import json
import pathlib
import sys


class Ladder:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def read(self, name):
        """The object of a file, or None if its run failed."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, json.JSONDecodeError):
            return None

    def line(self, goal, value, wanted, *, least=True, conclusive=True, note=""):
        """One goal: `value` must be at least `wanted`, or at most."""
        sign = ">=" if least else "<="
        if value is None:
            print(f"{goal}: not measured; wanted {sign} {wanted:g}")
            return
        short = wanted - value if least else value - wanted
        verdict = "met" if short <= 0 else f"missed by {short:.3f}"
        if not conclusive:
            verdict = f"inconclusive ({verdict})"
        note = f"; {note}" if note else ""
        print(f"{goal}: {value:.3f}, wanted {sign} {wanted:g}: {verdict}{note}")


def rows_of(run, key="rows"):
    return run[key] if run else []


def row_at(run, **wanted):
    for row in rows_of(run):
        if all(row[name] == value for name, value in wanted.items()):
            return row
    return None


def stage(row, name):
    return next(s for s in row["stages"] if s["op"] == name)


def engine(ladder, size):
    run = ladder.read(f"engine-{size}")
    one = row_at(run, batch=1)
    ladder.line(
        f"G15 share of the ceiling, {size}, batch 1",
        one and one["share_of_ceiling"],
        0.90,
        conclusive=bool(one and one["conclusive"]),
        note=one
        and f"IQR {one['share_iqr']:.3f} at "
        f"{one['ceiling_bytes_per_second'] / 1e9:.1f} GB/s",
    )
    eight = row_at(run, batch=8)
    ladder.line(
        f"G19 (t8/t1)/(bytes8/bytes1), {size}",
        eight and eight["step_ratio_over_bytes_ratio"],
        1.10,
        least=False,
        conclusive=bool(eight and eight["peer_conclusive"]),
        note=eight
        and f"t8/t1 {eight['step_ratio']:.3f}, bytes {eight['bytes_ratio']:.3f}, "
        f"share at batch 8 {eight['share_of_ceiling']:.3f}",
    )
    prefill = next(iter(rows_of(run, "prefill")), None)
    ladder.line(
        f"G20 prefill over oneDNN's rate at 64 rows, {size}",
        prefill and prefill["rate_ratio"],
        0.75,
        conclusive=bool(prefill and prefill["conclusive"]),
        note=prefill
        and f"{prefill['tokens_per_second']:.0f} of "
        f"{prefill['peer_tokens_per_second']:.0f} tokens/s, "
        f"IQR {prefill['rate_ratio_iqr']:.3f}",
    )


def products(ladder):
    run = ladder.read("products")
    if run and run["peer"] != "oneDNN":
        run = None
    for size in ("125m", "350m"):
        for rows, wanted in ((1, 1.1), (8, 1.1), (16, 1.0), (64, 1.0)):
            found = [
                p
                for p in rows_of(run, "products")
                if p["size"] == size and p["rows"] == rows
            ]
            shapes = found[0]["products"] if found else []
            unsure = [s["product"] for s in shapes if not s["peer_conclusive"]]
            ladder.line(
                f"G16 products over oneDNN, {size}, {rows} rows, median shape",
                found[0]["peer_ratio_median"] if found else None,
                wanted,
                conclusive=2 * len(unsure) < len(shapes),
                note=found
                and f"worst {found[0]['peer_ratio_worst']:.3f}"
                + (f", inconclusive alone: {', '.join(unsure)}" if unsure else ""),
            )


def positions(ladder, kind):
    run = ladder.read(f"position-{kind}")
    for position in (8192, 65536, 262144):
        row = row_at(run, position=position)
        ladder.line(
            f"G10 tokens/s at {position} against 1024, 125m {kind}, batch 1",
            row and row["tokens_per_second_ratio"],
            0.95,
            conclusive=bool(row and row["peer_conclusive"]),
            note=row and f"IQR {row['tokens_per_second_ratio_iqr']:.3f}",
        )


def tail(ladder, name, wanted):
    row = row_at(ladder.read(f"tail-{name}"), batch=8)
    ratio = reads = None
    if row:
        ratio = row["step_seconds_p99"] / row["step_seconds_p50"]
        reads = row["peer_seconds_p99"] / row["peer_seconds_p50"]
    ladder.line(
        f"G11 p99/p50 of a step, 125m, batch 8, positions {name}",
        ratio,
        wanted,
        least=False,
        conclusive=bool(row and row["conclusive"]),
        note=row and f"{row['steps']} steps; reads of as many bytes {reads:.3f}",
    )


def explicit(ladder):
    run = ladder.read("explicit-350m")
    for batch, wanted in ((1, 0.05), (8, 0.10)):
        row = row_at(run, batch=batch)
        convolution = row and stage(row, "long_convolution")
        ladder.line(
            f"Explicit convolution's share of a step, 350m, batch {batch}",
            convolution and convolution["share_of_step"],
            wanted,
            least=False,
            conclusive=bool(row and row["conclusive"]),
            note=row
            and f"stage mean {1e3 * convolution['seconds_mean']:.2f}, p50 "
            f"{1e3 * convolution['seconds_p50']:.2f}, p99 "
            f"{1e3 * convolution['seconds_p99']:.2f} ms; step p99/p50 "
            f"{row['step_seconds_p99'] / row['step_seconds_p50']:.3f}",
        )


def int8(ladder):
    for batch in (1, 8):
        row = row_at(ladder.read("int8-350m"), batch=batch)
        ladder.line(
            f"int8 share of the ceiling, 350m, batch {batch}",
            row and row["share_of_ceiling"],
            0.90,
            conclusive=bool(row and row["conclusive"]),
            note=row
            and f"{row['tokens_per_second']:.0f} tokens/s, "
            f"{row['step_bytes'] / 1e6:.1f} MB a step",
        )


def neighbours(ladder):
    alone = row_at(ladder.read("engine-125m"), batch=1)
    beside = row_at(ladder.read("beside-125m"), batch=1)
    both = alone and beside
    # Half of one of two cores is gone: 1.33 times where cores are the bound.
    ladder.line(
        "Step beside an endless loop over a step alone, 125m, batch 1, p50",
        both and beside["step_seconds_p50"] / alone["step_seconds_p50"],
        2,
        least=False,
        note=both
        and f"p99 {1e3 * beside['step_seconds_p99']:.1f} of "
        f"{1e3 * alone['step_seconds_p99']:.1f} ms",
    )
    idle = ladder.read("idle")
    ladder.line(
        "Cores that an idle server uses",
        idle and idle["processor_seconds"] / idle["seconds"],
        0.01,
        least=False,
    )


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: cpu_ladder.py FOLDER; got {len(sys.argv) - 1} arguments")
    ladder = Ladder(sys.argv[1])
    for size in ("125m", "350m"):
        engine(ladder, size)
    products(ladder)
    for kind in ("hierarchical", "explicit"):
        positions(ladder, kind)
    tail(ladder, "equal", 1.20)
    tail(ladder, "spread", 1.10)
    explicit(ladder)
    int8(ladder)
    neighbours(ladder)


if __name__ == "__main__":
    main()
