"""The PyTorch peer of `chela-bench engine`: one decode step of a named size, hierarchical kernel.

    python3 tests/gpu/pytorch_peer.py [--size 350m] [--batch 1] [--seconds 2] [--json FILE]

The step as someone would write it who wants it fast: bf16 matrices with the projections of c merged
and SwiGLU's halves merged, float32 states changed in place, torch.compile (max-autotune) and the whole
step in one CUDA graph, greedy token on the device. Weights are random. Two copies of the model take
turns, as the engine's benchmark does, so that no weights stay in the cache between steps. Needs PyTorch with
CUDA and nothing else of this project.
"""
import argparse
import json
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
        self.split, self.heads, self.batch = (z, v, d, d), heads, batch

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

    def convolve(self, a, position):
        """The hierarchical kernel at `position` (a 0-d tensor); rings and sums change in place."""
        half = BASE // 2
        lags = (position - torch.arange(1, BASE, device="cuda")) % BASE
        near = (self.ring0.index_select(1, lags) * self.taps0[1:]).sum(1)
        level = torch.arange(1, LEVELS + 1, device="cuda")
        newest = ((position + 1) >> level) - half
        fires = ((position + 1) % (1 << level) == 0) & (newest >= 0)
        first = self.ring0.index_select(1, torch.stack((2 * newest[0] % BASE,
                                                        (2 * newest[0] + 1) % BASE))).mean(1)
        index = torch.stack((2 * newest[1:] % (half + 1), (2 * newest[1:] + 1) % (half + 1)), 1)
        index = index[None, :, :, None].expand(self.batch, -1, -1, a.shape[-1])
        coarse = self.rings[:, :-1].gather(2, index).mean(2)
        blocks = torch.cat((first[:, None], coarse), 1)
        slot = (newest % (half + 1))[None, :, None, None].expand(self.batch, -1, 1, a.shape[-1])
        old = self.rings.gather(2, slot)
        fired = fires[None, :, None]
        self.rings.scatter_(2, slot, torch.where(fired[..., None], blocks[:, :, None], old))
        order = (newest[:, None] - torch.arange(half, device="cuda")) % (half + 1)
        order = order[None, :, :, None].expand(self.batch, -1, -1, a.shape[-1])
        own = (self.rings.gather(2, order) * self.taps).sum(2)
        coarser = F.pad(self.sums[:, 1:], (0, 0, 0, 1))
        # Levels fire from the finest on, so the coarsest that fires adds to an old sum.
        added = torch.flip(torch.cumsum(torch.flip(torch.where(fired, own, 0), (1,)), 1), (1,))
        top = fires.sum()
        kept = torch.cat((self.sums, torch.zeros_like(coarser[:, :1])), 1).index_select(
            1, top.reshape(1))
        self.sums.copy_(torch.where(fired, added + kept, self.sums))
        c = near + self.sums[:, 0] + self.taps0[0] * a + self.skip * a
        self.ring0.index_copy_(1, (position % BASE).reshape(1), a[:, None])
        return c

    def __call__(self, x, position):
        u = rms(x, self.norm1)
        a = F.silu((self.window * self.short[:-1]).sum(1) + self.short[-1] * u + self.short_bias)
        self.window.copy_(torch.cat((self.window[:, 1:], u[:, None]), 1))
        c = self.convolve(a, position)
        zz, reset, gate, candidate = (product(c, self.of_c) + self.bias_c).split(self.split, -1)
        zz = F.silu(zz)
        q = (F.elu(zz * self.affine[0] + self.affine[1]) + 1).unflatten(-1, (self.heads, -1))
        k = (F.elu(zz * self.affine[2] + self.affine[3]) + 1).unflatten(-1, (self.heads, -1))
        w = F.silu(product(u, self.value) + self.bias_value).unflatten(-1, (self.heads, -1))
        self.state.mul_(self.decay).add_(k[..., None] * w[..., None, :])
        o = (self.state * q[..., None]).sum(-2)
        o = (o * torch.rsqrt(o.square().mean(-1, keepdim=True) + EPS)).flatten(1) * self.head_norm
        h = F.silu(candidate + product(F.silu(reset) * o, self.out))
        g = torch.sigmoid(gate)
        y = g * h + (1 - g) * x
        left, right = product(rms(y, self.norm2), self.up).chunk(2, -1)
        return y + product(F.silu(left) * right, self.down)


class Model:
    def __init__(self, size, batch, seed):
        generator = torch.Generator("cuda").manual_seed(seed)
        self.embedding = (torch.randn(size[6], size[0], device="cuda", generator=generator)
                          * 0.02).to(torch.bfloat16)
        self.norm = torch.ones(size[0], device="cuda")
        self.layers = [Layer(size, batch, generator) for _ in range(size[1])]
        self.tokens = torch.zeros(batch, dtype=torch.long, device="cuda")
        self.position = torch.full((), 1024, dtype=torch.long, device="cuda")

    def step(self):
        x = self.embedding[self.tokens].float()
        for layer in self.layers:
            x = layer(x, self.position)
        logits = product(rms(x, self.norm), self.embedding)
        self.tokens.copy_(logits.argmax(-1))
        self.position.add_(1)

    def record(self):
        step = torch.compile(self.step, mode="max-autotune-no-cudagraphs", fullgraph=True)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(3):
                step()
        side.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph, stream=side):
            step()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="350m")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    models = [Model(SIZES[options.size], options.batch, seed) for seed in range(2)]
    for model in models:
        model.record()
    times, end = [], time.perf_counter() + options.seconds
    host = torch.empty(options.batch, dtype=torch.long, pin_memory=True)
    while time.perf_counter() < end or len(times) < 20:
        model = models[len(times) % 2]
        began = time.perf_counter()
        model.graph.replay()
        host.copy_(model.tokens, non_blocking=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    times = sorted(times[len(times) // 4:])
    result = {"peer": f"PyTorch {torch.__version__}", "device": torch.cuda.get_device_name(),
              "model": options.size, "batch": options.batch, "steps": len(times),
              "step_seconds_p50": statistics.median(times),
              "step_seconds_p99": times[int(len(times) * 0.99)]}
    print(json.dumps(result))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)


if __name__ == "__main__":
    main()
