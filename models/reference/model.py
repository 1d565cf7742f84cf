"""The model in its training form, and the export that merges its branches.

Same equations as `equations.py`, on batches that start from an empty state. Two things differ from
a checkpoint: a short convolution may be the sum of parallel branches of several lengths (they are
linear and parallel, so their sum is one kernel, exactly: re-parameterisation), and there may be
dropout.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import training_ops as ops


class Norm(nn.Module):
    """RMSNorm or LayerNorm; float32 inside, the input's type outside."""

    def __init__(self, width, kind, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if kind == "layernorm" else None

    def forward(self, x):
        wide = x if x.dtype == torch.float64 else x.float()
        if self.bias is not None:
            wide = wide - wide.mean(-1, keepdim=True)
        out = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps) * self.weight
        return (out if self.bias is None else out + self.bias).to(x.dtype)


class ShortConv(nn.Module):
    """Parallel branches [d, K_i], right-aligned on the current token, and one bias."""

    def __init__(self, width, branches):
        super().__init__()
        self.branches = nn.ParameterList(
            nn.Parameter(torch.randn(width, taps) * (0.5 / math.sqrt(taps * len(branches))))
            for taps in branches)
        self.bias = nn.Parameter(torch.zeros(width))

    def merged(self):
        """The one kernel [d, max K_i] that equals the branches."""
        longest = max(branch.shape[1] for branch in self.branches)
        return sum(F.pad(branch, (longest - branch.shape[1], 0)) for branch in self.branches)

    def forward(self, u):
        """SiLU(k_s * u + b_s)."""
        return ops.short_convolution(u, self.merged(), self.bias)


class LongConv(nn.Module):
    """c of a. Taps start near 0 and the skip at 1, so that lags no text has trained stay silent."""

    def __init__(self, width, conv):
        super().__init__()
        self.kind = conv.kind
        if conv.kind == "none":
            return
        self.skip = nn.Parameter(torch.ones(width))
        if conv.kind == "explicit":
            lag = torch.arange(conv.length)
            self.kernel = nn.Parameter(torch.randn(width, conv.length) * 0.1 / (1 + lag))
        else:
            lag = torch.arange(conv.base_length)
            self.taps0 = nn.Parameter(torch.randn(width, conv.base_length) * 0.1 / (1 + lag))
            self.taps = nn.Parameter(torch.zeros(conv.levels, width, conv.base_length // 2))

    def forward(self, a):
        if self.kind == "none":
            return a
        if self.kind == "explicit":
            return ops.explicit_convolution(a, self.kernel, self.skip)
        return ops.hierarchical_convolution(a, self.taps0, self.taps, self.skip)


class Layer(nn.Module):
    """One layer. Matrices are [out, in] and have the names of the checkpoint."""

    def __init__(self, config, branches, decay, dropout):
        super().__init__()
        self.config, self.dropout = config, dropout
        c = config
        d, z, v, f = c.hidden_size, c.shared_dim, c.value_dim, c.intermediate_size
        self.norm1, self.norm2 = (Norm(d, c.norm, c.norm_eps) for _ in range(2))
        self.short_conv, self.long_conv = ShortConv(d, branches), LongConv(d, c.long_conv)
        self.attention, self.ffn = nn.Module(), nn.Module()
        for name, rows in (("shared_proj", z), ("value_proj", v), ("reset_gate", v),
                           ("update_gate", d), ("candidate_proj", d)):
            self.attention.add_module(name, nn.Linear(d, rows))
        nn.init.constant_(self.attention.update_gate.bias, -1.0)  # begin by keeping most of x
        for name in ("q", "k"):
            self.attention.register_parameter(
                f"{name}_scale", nn.Parameter(1 + 0.1 * torch.randn(z)))
            self.attention.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(z)))
        self.attention.norm = nn.Module()
        self.attention.norm.weight = nn.Parameter(torch.ones(v))
        self.attention.out_proj = nn.Linear(v, d, bias=False)
        self.attention.register_buffer("decay", torch.tensor(decay))
        if c.ffn == "swiglu":
            self.ffn.gate_proj = nn.Linear(d, f, bias=False)
        self.ffn.up_proj, self.ffn.down_proj = (nn.Linear(*s, bias=False) for s in ((d, f), (f, d)))
        nn.init.zeros_(self.attention.out_proj.weight)
        nn.init.zeros_(self.ffn.down_proj.weight)

    def _phi(self, zz, name):
        affine = (zz * getattr(self.attention, f"{name}_scale")
                  + getattr(self.attention, f"{name}_bias"))
        kind = self.config.feature_map
        out = F.elu(affine) + 1 if kind == "elu1" else F.silu(affine) if kind == "silu" else affine
        return out.to(zz.dtype).unflatten(-1, (self.config.num_heads, -1))

    def _linear(self, x, name):
        part = getattr(self.attention, name)
        return F.linear(x, part.weight.to(x.dtype), part.bias.to(x.dtype))

    def _feed_forward(self, n):
        down = self.ffn.down_proj.weight.to(n.dtype)
        if self.config.ffn == "silu":
            return F.linear(F.silu(F.linear(n, self.ffn.up_proj.weight.to(n.dtype))), down)
        both = torch.cat([self.ffn.gate_proj.weight, self.ffn.up_proj.weight]).to(n.dtype)
        gate, up = F.linear(n, both).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, down)

    def _dropped(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, x, tables):
        """x [B, T, d] -> [B, T, d]; tables: powers of the decay (training_ops.decay_tables)."""
        heads, attention = self.config.num_heads, self.attention
        u = self.norm1(x)
        c = self.long_conv(self.short_conv(u))
        # Products of c are apart here: joining their gradients would cost more than it saves.
        zz, w = F.silu(self._linear(c, "shared_proj")), F.silu(self._linear(u, "value_proj"))
        o = ops.linear_attention(self._phi(zz, "q"), self._phi(zz, "k"),
                                 w.unflatten(-1, (heads, -1)), tables)
        wide = o if o.dtype == torch.float64 else o.float()
        o = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.config.norm_eps)
        o = (o.flatten(-2) * attention.norm.weight).to(x.dtype)
        reset = F.silu(self._linear(c, "reset_gate"))
        update = torch.sigmoid(self._linear(c, "update_gate"))
        candidate = self._linear(c, "candidate_proj")
        h = F.silu(candidate + F.linear(reset * o, attention.out_proj.weight.to(x.dtype)))
        y = update * self._dropped(h) + (1 - update) * x
        return y + self._dropped(self._feed_forward(self.norm2(y)))


class ChelaModel(nn.Module):
    """tokens [B, T] -> the normed last layer [B, T, d]; the head is `head_weight`.

    branches: lengths of the parallel short branches (the longest is short_conv.kernel_size).
    decay: lambda of every head, the same in all layers. activations: their type while training.
    dropout: share of h and of the FFN's output that is left out in training mode.
    """

    def __init__(self, config, branches=None, decay=None, activations=torch.float32, dropout=0.0):
        super().__init__()
        self.config, self.activations = config, activations
        branches = branches or [config.short_conv.kernel_size]
        if max(branches) != config.short_conv.kernel_size:
            raise ValueError(f"branches: {branches}; the longest must be the kernel size")
        decay = decay or [1.0] * config.num_heads
        if len(decay) != config.num_heads:
            raise ValueError(f"decay: {len(decay)} values; want one for each head")
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(config, branches, decay, dropout)
                                    for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.norm, config.norm_eps)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def head_weight(self):
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(self, tokens):
        x = self.embed_tokens(tokens) * self.config.embedding_multiplier
        x = x.to(self.activations)
        decay = self.layers[0].attention.decay
        tables = ops.decay_tables(decay, tokens.shape[1], self.activations)
        for layer in self.layers:
            x = layer(x, tables)
        return self.norm(x)

    def merged_tensors(self):
        """{checkpoint name: float32 tensor}: the branches merged, everything else as it is."""
        tensors = {}
        for name, tensor in self.state_dict().items():
            if ".short_conv.branches." in name:
                continue
            prefix = "" if name.startswith("lm_head") else "model."
            tensors[prefix + name.replace("_orig_mod.", "")] = tensor.detach().cpu()
        for index, layer in enumerate(self.layers):
            tensors[f"model.layers.{index}.short_conv.weight"] = \
                layer.short_conv.merged().detach().cpu()
        return tensors
