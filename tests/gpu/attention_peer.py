#!/usr/bin/env python3
"""Times flash-linear-attention's chunk kernel on the tensors of a named size.

The peer of goal G7 and of `chela-bench kernels --prefill attention`: linear
attention with one decay a head (chunk_simple_gla), bf16 in and out, states
carried between chunks in bf16 as that library does. Ours does more in the same
time: it takes float32, applies the activations, keeps float32 states, norms and
gates. Needs PyTorch, Triton and flash-linear-attention (fla-core) in the path.
"""

import argparse
import json
import statistics

import torch
from fla.ops.simple_gla.chunk import chunk_simple_gla


def measure(call, pairs: int) -> list[float]:
    """Seconds of one call: a CUDA graph of 20 calls, replayed."""
    call()
    torch.cuda.synchronize()
    calls = 20
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    graph.replay()
    torch.cuda.synchronize()
    seconds = []
    for _ in range(pairs):
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) * 1e-3 / calls)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--key-dim", type=int, default=64)
    parser.add_argument("--value-dim", type=int, default=512)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    torch.manual_seed(0)

    def random(width: int) -> torch.Tensor:
        return torch.randn(1, args.tokens, args.heads, width,
                           dtype=torch.bfloat16, device="cuda")

    q, k = random(args.key_dim), random(args.key_dim)
    v = random(args.value_dim)
    decay = torch.full((args.heads,), 1 - 1 / 128, device="cuda").log()
    with torch.no_grad():
        seconds = measure(
            lambda: chunk_simple_gla(q, k, v, g_gamma=decay, scale=1.0,
                                     output_final_state=True), args.runs)
    result = {
        "kernel": "chunk_simple_gla",
        "shape": [1, args.tokens, args.heads, args.key_dim, args.value_dim],
        "seconds_p50": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(),
    }
    print(json.dumps(result))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file)


if __name__ == "__main__":
    main()
