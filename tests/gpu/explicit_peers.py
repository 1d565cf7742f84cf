"""Peers of `chela-bench kernels --explicit`: the explicit long convolution by other means.

    python3 tests/gpu/explicit_peers.py [--rows 64] [--layers 24] [--json FILE]

Decode: a kernel that reads the whole history, N = 8192 inputs a token and channel (Triton, four sequences
share each tap that is read), beside a copy within the card's memory, on a quarter of the layers, whose states
are more than the caches hold; the step is four times that. Prefill: [16, 1024, 4096] by torch.fft in float32,
channels first as it likes them, the taps' spectrum made beforehand. Needs PyTorch and Triton with CUDA.
"""
import argparse
import json
import statistics

import torch
import triton
import triton.language as tl

TAPS, WIDTH = 8192, 1024


@triton.jit
def history(x, taps, out, position, rows, N: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr, L: tl.constexpr, C: tl.constexpr):
    channel = tl.program_id(0) * C + tl.arange(0, C)
    row = tl.program_id(1).to(tl.int64) * 4
    part = tl.program_id(2)
    s0 = tl.zeros([L, C], tl.float32)
    s1 = tl.zeros([L, C], tl.float32)
    s2 = tl.zeros([L, C], tl.float32)
    s3 = tl.zeros([L, C], tl.float32)
    for first in range(0, N // PARTS, L):
        lag = part * (N // PARTS) + first + tl.arange(0, L)
        tap = tl.load(taps + lag[:, None] * D + channel[None, :])
        at = ((position - lag) & (N - 1))[:, None] * D + channel[None, :]
        s0 += tap * tl.load(x + row * N * D + at)
        s1 += tap * tl.load(x + (row + 1) * N * D + at)
        s2 += tap * tl.load(x + (row + 2) * N * D + at)
        s3 += tap * tl.load(x + (row + 3) * N * D + at)
    to = out + (part * rows + row) * D + channel
    tl.store(to, tl.sum(s0, 0))
    tl.store(to + D, tl.sum(s1, 0))
    tl.store(to + 2 * D, tl.sum(s2, 0))
    tl.store(to + 3 * D, tl.sum(s3, 0))


def timed(run, repeats):
    """Seconds of one run: the median of `repeats`."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def decode(rows, layers):
    quarter = layers // 4
    states = [torch.randn(rows, TAPS, WIDTH, device="cuda") for _ in range(quarter)]
    taps = [torch.randn(TAPS, WIDTH, device="cuda") for _ in range(quarter)]
    out = torch.empty(16, rows, WIDTH, device="cuda")
    best = None
    for parts, lags, warps in ((16, 8, 4), (8, 8, 4), (16, 16, 8), (16, 4, 4)):
        def run():
            for state, tap in zip(states, taps):
                history[(WIDTH // 128, rows // 4, parts)](
                    state, tap, out, TAPS + 77, rows, TAPS, WIDTH, parts, lags, 128, num_warps=warps)
                out[:parts].sum(0)
        run()
        if best is None:
            lags_of_rows = (TAPS + 77 - torch.arange(TAPS, device="cuda")) % TAPS
            want = torch.einsum("rnd,nd->rd", states[-1], taps[-1][lags_of_rows])
            error = (out[:parts].sum(0) - want).norm() / want.norm()
            assert error < 1e-3, error  # float32 sums in another order, perhaps tf32
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        seconds = timed(graph.replay, 7)
        best = min(best or seconds, seconds)
    half = states[0].numel() // 2
    flat = states[0].view(-1)
    copy = timed(lambda: flat[:half].copy_(flat[half:]), 7)
    rate = 2 * half * 4 / copy
    moved = quarter * (rows + 1) * TAPS * WIDTH * 4
    return {"rows": rows, "layers": layers, "history_step_seconds": 4 * best, "history_share_of_copy": moved / best / rate, "copy_bytes_per_second": rate}


def prefill():
    x = torch.randn(16, WIDTH, 4096, device="cuda")
    spectrum = torch.fft.rfft(torch.randn(WIDTH, 8192, device="cuda"))

    def run():
        return torch.fft.irfft(torch.fft.rfft(x, n=8192) * spectrum, n=8192)[..., :4096]

    return {"torch_fft_seconds": timed(run, 9)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    result = prefill()
    print(json.dumps(result), flush=True)
    result.update(decode(arguments.rows, arguments.layers))
    text = json.dumps(result)
    print(text)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
