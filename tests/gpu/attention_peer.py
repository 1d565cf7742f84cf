#!/usr/bin/env python3
"""Times flash-linear-attention's chunk kernel on the tensors of a named size.

The peer of goal G7 and of `chela-bench kernels --prefill attention`: linear
attention with one decay a head (chunk_simple_gla), bf16 in and out, states
carried between chunks in bf16 as that library does. Ours does more in the same
time: it takes float32, applies the activations, keeps float32 states, norms and
gates. Needs PyTorch, Triton and flash-linear-attention (fla-core) in the path.

The library chooses among 48 shapes of its state kernel and 2 or 3 of its output
kernel by trying each, which takes minutes of compiling one after the other. All
of them are tried here too, but --workers processes compile them first into
Triton's cache. The choices are printed.
"""

import argparse
import contextlib
import fcntl
import importlib.util
import json
import multiprocessing
import statistics
import sys
import types


def kernels():
    """The library's two kernels and its function, without loading all others."""
    root = importlib.util.find_spec("fla").submodule_search_locations[0]
    for name, path in (("fla", root), ("fla.ops", root + "/ops"),
                       ("fla.ops.simple_gla", root + "/ops/simple_gla")):
        package = sys.modules.setdefault(name, types.ModuleType(name))
        package.__path__ = [path]
        package.__version__ = "of its parts"
    from fla.ops.common import chunk_h, chunk_o
    from fla.ops.simple_gla.chunk import chunk_simple_gla
    return (chunk_h.chunk_fwd_kernel_h, chunk_o.chunk_fwd_kernel_o,
            chunk_simple_gla)


def tuner(kernel):
    """The part of a decorated kernel that chooses."""
    while not hasattr(kernel, "configs"):
        kernel = kernel.fn
    return kernel


def make_call(args, chunk_simple_gla):
    import torch
    torch.manual_seed(0)

    def random(width: int):
        return torch.randn(1, args.tokens, args.heads, width,
                           dtype=torch.bfloat16, device="cuda")

    q, k = random(args.key_dim), random(args.key_dim)
    v = random(args.value_dim)
    decay = torch.full((args.heads,), 1 - 1 / 128, device="cuda").log()

    def call():
        with torch.no_grad():
            return chunk_simple_gla(q, k, v, g_gamma=decay, scale=1.0,
                                    output_final_state=True)
    return call


def compile_some(args, worker: int) -> None:
    state, _, chunk_simple_gla = kernels()
    own = tuner(state).configs[worker::args.workers]
    if not own:
        return
    tuner(state).configs = own
    make_call(args, chunk_simple_gla)()


@contextlib.contextmanager
def locked(path: str):
    """Nothing else that takes the lock of this file runs meanwhile."""
    if not path:
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure(call, pairs: int) -> list[float]:
    """Seconds of one call: a CUDA graph of 20 calls, replayed."""
    import torch
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
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--json", default="")
    parser.add_argument("--lock", default="",
                        help="a file whose lock is held while times are taken")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=compile_some, args=(args, i))
               for i in range(args.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            sys.exit(f"attention_peer: a compiling process ended with "
                     f"{worker.exitcode}, want 0")
    import torch
    state, output, chunk_simple_gla = kernels()
    tried = [len(tuner(kernel).configs) for kernel in (state, output)]
    call = make_call(args, chunk_simple_gla)
    with locked(args.lock):
        call()
        seconds = measure(call, args.runs)
    result = {
        "kernel": "chunk_simple_gla",
        "shape": [1, args.tokens, args.heads, args.key_dim, args.value_dim],
        "seconds_p50": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "tried": tried,
        "chosen": [str(getattr(tuner(kernel), "best_config", "the only one"))
                   for kernel in (state, output)],
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(),
    }
    print(json.dumps(result))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
