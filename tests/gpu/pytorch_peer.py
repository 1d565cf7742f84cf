"""The PyTorch peer of `chela-bench engine`: one decode step of a named size, hierarchical kernel.

    python3 tests/gpu/pytorch_peer.py [--size 350m] [--batch 1] [--seconds 2] [--json FILE] [--lock FILE]

The step as someone would write it who wants it fast: bf16 matrices with the projections of c merged
and SwiGLU's halves merged, float32 states changed in place, torch.compile (max-autotune) and the whole
step in one CUDA graph, greedy token on the device. A layer is compiled once and used for all: the
compiler is done in half a minute instead of many, and has nothing to fuse across layers but one
addition. Weights are random. Two copies of the model take turns, as the engine's benchmark does, so
that no weights stay in the cache between steps. Needs PyTorch with CUDA and nothing else of this
project.
"""
import argparse
import contextlib
import fcntl
import json
import sys
import statistics
import time

import torch
import torch.nn.functional as F

SIZES = {  # hidden, layers, heads, shared, value, intermediate, vocabulary (docs/performance.md)
    "31m": (512, 8, 4, 128, 1024, 768, 8192),
    "125m": (768, 12, 3, 192, 1536, 1536, 32768),
    "350m": (1024, 24, 4, 256, 2048, 1408, 32768),
    "1.3b": (2048, 24, 8, 512, 4096, 2688, 32768),
}
TAPS, BASE, LEVELS, EPS = 7, 16, 9, 1e-5


def rms(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight


def product(x, weight):
    return F.linear(x.to(torch.bfloat16), weight).float()


class Layer:
    def __init__(self, size, batch, generator):
        d, _, heads, z, v, f, _ = size

        def matrix(rows, cols):
            return (torch.randn(rows, cols, device="cuda", generator=generator)
                    / cols ** 0.5).to(torch.bfloat16)

        def vector(*shape, scale=0.1):
            return torch.randn(*shape, device="cuda", generator=generator) * scale

        self.of_c, self.value, self.out = matrix(z + v + 2 * d, d), matrix(v, d), matrix(d, v)
        self.up, self.down = matrix(2 * f, d), matrix(d, f)
        self.bias_c, self.bias_value = vector(z + v + 2 * d), vector(v)
        self.norm1, self.norm2, self.head_norm = (torch.ones(n, device="cuda") for n in (d, d, v))
        self.short, self.short_bias = vector(TAPS, d), vector(d)
        self.taps0, self.taps, self.skip = vector(BASE, d), vector(LEVELS, BASE // 2, d), vector(d)
        self.affine = vector(4, z)
        self.decay = torch.full((heads, 1, 1), 1 - 1 / 128, device="cuda")
        self.window = vector(batch, TAPS - 1, d)
        self.state = vector(batch, heads, z // heads, v // heads)
        self.ring0 = vector(batch, BASE, d)
        self.rings = vector(batch, LEVELS, BASE // 2 + 1, d)
        self.sums = vector(batch, LEVELS, d)

    def tensors(self):
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}

    def bytes_a_step(self):
        """What a step has to move, by the rule of `chela-bench engine`: weights and vectors read,
        state read and written; the history of the convolutions, under 1%, is left out."""
        moved = 0
        for name, value in self.tensors().items():
            size = value.numel() * value.element_size()
            if name == "state":
                moved += 2 * size
            elif name not in ("window", "ring0", "rings", "sums"):
                moved += size
        return moved


class LayerStep:
    """A decode step of one layer, a function of its tensors so that one compilation serves them all."""

    def __init__(self, size, batch):
        d, _, heads, z, v, _, _ = size
        self.split, self.heads, self.batch = (z, v, d, d), heads, batch

    def convolve(self, t, a, position):
        """The hierarchical kernel at `position` (a 0-d tensor); rings and sums change in place."""
        half = BASE // 2
        lags = (position - torch.arange(1, BASE, device="cuda")) % BASE
        near = (t["ring0"].index_select(1, lags) * t["taps0"][1:]).sum(1)
        level = torch.arange(1, LEVELS + 1, device="cuda")
        newest = ((position + 1) >> level) - half
        fires = ((position + 1) % (1 << level) == 0) & (newest >= 0)
        first = t["ring0"].index_select(1, torch.stack((2 * newest[0] % BASE,
                                                        (2 * newest[0] + 1) % BASE))).mean(1)
        index = torch.stack((2 * newest[1:] % (half + 1), (2 * newest[1:] + 1) % (half + 1)), 1)
        index = index[None, :, :, None].expand(self.batch, -1, -1, a.shape[-1])
        coarse = t["rings"][:, :-1].gather(2, index).mean(2)
        blocks = torch.cat((first[:, None], coarse), 1)
        slot = (newest % (half + 1))[None, :, None, None].expand(self.batch, -1, 1, a.shape[-1])
        old = t["rings"].gather(2, slot)
        fired = fires[None, :, None]
        t["rings"].scatter_(2, slot, torch.where(fired[..., None], blocks[:, :, None], old))
        order = (newest[:, None] - torch.arange(half, device="cuda")) % (half + 1)
        order = order[None, :, :, None].expand(self.batch, -1, -1, a.shape[-1])
        own = (t["rings"].gather(2, order) * t["taps"]).sum(2)
        coarser = F.pad(t["sums"][:, 1:], (0, 0, 0, 1))
        # Levels fire from the finest on, so the coarsest that fires adds to an old sum.
        added = torch.flip(torch.cumsum(torch.flip(torch.where(fired, own, 0), (1,)), 1), (1,))
        top = fires.sum()
        kept = torch.cat((t["sums"], torch.zeros_like(coarser[:, :1])), 1).index_select(
            1, top.reshape(1))
        t["sums"].copy_(torch.where(fired, added + kept, t["sums"]))
        c = near + t["sums"][:, 0] + t["taps0"][0] * a + t["skip"] * a
        t["ring0"].index_copy_(1, (position % BASE).reshape(1), a[:, None])
        return c

    def step(self, t, x, position):
        u = rms(x, t["norm1"])
        a = F.silu((t["window"] * t["short"][:-1]).sum(1) + t["short"][-1] * u + t["short_bias"])
        t["window"].copy_(torch.cat((t["window"][:, 1:], u[:, None]), 1))
        c = self.convolve(t, a, position)
        zz, reset, gate, candidate = (product(c, t["of_c"]) + t["bias_c"]).split(self.split, -1)
        zz = F.silu(zz)
        q = (F.elu(zz * t["affine"][0] + t["affine"][1]) + 1).unflatten(-1, (self.heads, -1))
        k = (F.elu(zz * t["affine"][2] + t["affine"][3]) + 1).unflatten(-1, (self.heads, -1))
        w = F.silu(product(u, t["value"]) + t["bias_value"]).unflatten(-1, (self.heads, -1))
        t["state"].mul_(t["decay"]).add_(k[..., None] * w[..., None, :])
        o = (t["state"] * q[..., None]).sum(-2)
        o = (o * torch.rsqrt(o.square().mean(-1, keepdim=True) + EPS)).flatten(1) * t["head_norm"]
        h = F.silu(candidate + product(F.silu(reset) * o, t["out"]))
        g = torch.sigmoid(gate)
        y = g * h + (1 - g) * x
        left, right = product(rms(y, t["norm2"]), t["up"]).chunk(2, -1)
        return y + product(F.silu(left) * right, t["down"])


class Model:
    def __init__(self, size, batch, seed):
        generator = torch.Generator("cuda").manual_seed(seed)
        self.embedding = (torch.randn(size[6], size[0], device="cuda", generator=generator)
                          * 0.02).to(torch.bfloat16)
        self.norm = torch.ones(size[0], device="cuda")
        self.layers = [Layer(size, batch, generator) for _ in range(size[1])]
        self.tokens = torch.zeros(batch, dtype=torch.long, device="cuda")
        self.position = torch.full((), 1024, dtype=torch.long, device="cuda")

    def step(self, layer_step, head_step):
        x = self.embedding[self.tokens].float()
        for layer in self.layers:
            x = layer_step(layer.tensors(), x, self.position)
        head_step(x, self.norm, self.embedding, self.tokens, self.position)

    def record(self, layer_step, head_step):
        side = torch.cuda.Stream()
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(3):
                self.step(layer_step, head_step)
        side.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph, stream=side):
            self.step(layer_step, head_step)

    def bytes_a_step(self):
        return (self.embedding.numel() * self.embedding.element_size()
                + sum(layer.bytes_a_step() for layer in self.layers))


def head_step(x, norm, embedding, tokens, position):
    tokens.copy_(product(rms(x, norm), embedding).argmax(-1))
    position.add_(1)


def copy_rate():
    """Bytes a second of a copy on the card, read and written."""
    one, two = (torch.empty(1 << 30, dtype=torch.uint8, device="cuda") for _ in range(2))
    rates = []
    for _ in range(12):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        two.copy_(one)
        end.record()
        end.synchronize()
        rates.append(2 * one.numel() / (start.elapsed_time(end) * 1e-3))
    return statistics.median(rates)


@contextlib.contextmanager
def locked(path):
    """Nothing else that takes the lock of this file runs meanwhile."""
    if path is None:
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure(models, seconds):
    batch = models[0].tokens.numel()
    times, end = [], time.perf_counter() + seconds
    host = torch.empty(batch, dtype=torch.long, pin_memory=True)
    while time.perf_counter() < end or len(times) < 20:
        model = models[len(times) % 2]
        began = time.perf_counter()
        model.graph.replay()
        host.copy_(model.tokens, non_blocking=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times[len(times) // 4:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="350m")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--json")
    parser.add_argument("--lock", help="a file whose lock is held while times are taken")
    options = parser.parse_args()
    began = time.perf_counter()
    size = SIZES[options.size]
    compiled = [torch.compile(step, mode="max-autotune-no-cudagraphs", fullgraph=True, dynamic=False)
                for step in (LayerStep(size, options.batch).step, head_step)]
    models = [Model(size, options.batch, seed) for seed in range(2)]
    for model in models:
        model.record(*compiled)
        print(f"recorded after {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    with locked(options.lock):
        times = measure(models, options.seconds)
        copy = copy_rate()
    median = statistics.median(times)
    moved = models[0].bytes_a_step()
    result = {"peer": f"PyTorch {torch.__version__}", "device": torch.cuda.get_device_name(),
              "model": options.size, "batch": options.batch, "steps": len(times),
              "step_seconds_p50": median, "step_seconds_p99": times[int(len(times) * 0.99)],
              "bytes_a_step": moved, "copy_bytes_per_second": copy,
              "share_of_copy": moved / median / copy}
    print(json.dumps(result))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)


if __name__ == "__main__":
    main()
