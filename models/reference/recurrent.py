"""Decoding one token at a time, with the bounded state the model's definition gives.

Written apart from `equations.py` on purpose: the two must agree, and the tests say so.
"""
import torch
import torch.nn.functional as F


class HierarchicalState:
    """Rings of one layer, newest first: B inputs, B/2 + 1 blocks a level, and S cached sums."""

    def __init__(self, taps0, taps):
        channels, base = taps0.shape
        self.taps0, self.taps, self.half = taps0, taps, base // 2
        self.rings = [taps0.new_zeros(base, channels)]
        self.rings += [taps0.new_zeros(self.half + 1, channels) for _ in taps]
        self.sums = taps0.new_zeros(len(taps) + 1, channels)  # levels j + 1 and coarser
        self.position = 0

    def _push(self, level, value):
        self.rings[level] = torch.cat([value[None], self.rings[level][:-1]])

    def step(self, a):
        """a [d] at the next position -> c [d] without the skip term."""
        self._push(0, a)
        self.position += 1
        fired = 0
        while fired < len(self.taps) and self.position % 2 ** (fired + 1) == 0:
            # The two oldest values below reach age B/2 - 1 of the level above as one block.
            oldest = self.rings[fired][-2:]
            fired += 1
            self._push(fired, oldest.mean(0))
        for level in range(fired, 0, -1):
            own = (self.taps[level - 1].T * self.rings[level][:self.half]).sum(0)
            self.sums[level - 1] = own + self.sums[level]
        return (self.taps0.T * self.rings[0]).sum(0) + self.sums[0]


class ExplicitState:
    """The last N inputs of one layer, newest first."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.window = kernel.new_zeros(kernel.shape[1], kernel.shape[0])

    def step(self, a):
        self.window = torch.cat([a[None], self.window[:-1]])
        return (self.kernel.T * self.window).sum(0)


class _LayerState:
    def __init__(self, config, layer):
        taps = layer["short_conv.weight"]
        self.window = taps.new_zeros(taps.shape[1], taps.shape[0])  # oldest first
        self.attention = taps.new_zeros(config.num_heads, config.key_head_dim,
                                        config.value_head_dim)
        kind = config.long_conv.kind
        self.long = None
        if kind == "explicit":
            self.long = ExplicitState(layer["long_conv.kernel"])
        elif kind == "hierarchical":
            self.long = HierarchicalState(layer["long_conv.taps0"], layer["long_conv.taps"])


class Decoder:
    """Feeds one token after another through a `Checkpoint`. Owned by one thread."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint
        layers = range(checkpoint.config.num_hidden_layers)
        self._states = [_LayerState(checkpoint.config, checkpoint.layer(i)) for i in layers]

    def _layer_step(self, x, index):
        model, layer, state = self.checkpoint, self.checkpoint.layer(index), self._states[index]
        u = model.norm(x, layer, "norm1")
        state.window = torch.cat([state.window[1:], u])
        a = F.silu((layer["short_conv.weight"].T * state.window).sum(0) + layer["short_conv.bias"])
        c = a if state.long is None else state.long.step(a) + layer["long_conv.skip"] * a
        c = c[None]
        q, k = model.queries_and_keys(c, layer)
        w = model.values(u, layer)
        state.attention = (layer["attention.decay"][:, None, None] * state.attention
                           + k[0][:, :, None] * w[0][:, None, :])
        o = (state.attention * q[0][:, :, None]).sum(1)
        return model.close_layer(x, c, o[None], layer)

    @torch.no_grad()
    def step(self, token):
        """One token id -> logits [vocab] for the next."""
        x = self.checkpoint.embed(torch.tensor([token], device=self.checkpoint.device))
        for index in range(len(self._states)):
            x = self._layer_step(x, index)
        return self.checkpoint.head(x)[0]
