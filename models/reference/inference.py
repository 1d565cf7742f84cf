"""A checkpoint, and its logits for a run of tokens of one sequence.

`Checkpoint.forward` takes any run (a whole text, a chunk, one token) and the state before it. With
bf16 or fp16 checkpoints the weights of matrix products and their left operands are rounded to that
type; everything else keeps the compute type, as the model's definition asks.
"""
import torch
import torch.nn.functional as F

from . import equations
from .config import ModelConfig, tensor_shapes
from .safetensors_io import load_checkpoint

_PRODUCTS = ("_proj.weight", "_gate.weight", "lm_head.weight", "embed_tokens.weight")


def check_tensors(config, tensors):
    """Raises ValueError for a missing, unknown or misshapen tensor (decay may be absent)."""
    shapes = tensor_shapes(config)
    for name, shape in shapes.items():
        if name not in tensors:
            if name.endswith("attention.decay"):
                continue
            raise ValueError(f"{name}: missing")
        if tuple(tensors[name].shape) != tuple(shape):
            raise ValueError(f"{name}: shape {tuple(tensors[name].shape)}; want {tuple(shape)}")
    unknown = set(tensors) - set(shapes)
    if unknown:
        raise ValueError(f"unknown tensors: {sorted(unknown)}")


class Checkpoint:
    """Immutable after construction. `compute`: float64 for references, float32 for use.

    `exact` leaves out the rounding of 16-bit checkpoints (for tests of equality in float64).
    """

    def __init__(self, config, tensors, compute=torch.float32, device="cpu", exact=False):
        check_tensors(config, tensors)
        self.config, self.compute, self.device = config, compute, device
        narrow = getattr(torch, config.torch_dtype)
        self._narrow = None if exact or narrow == torch.float32 else narrow
        self._tensors = {}
        for name, tensor in tensors.items():
            tensor = tensor.to(device)
            if self._narrow is not None and name.endswith(_PRODUCTS):
                tensor = tensor.to(self._narrow)
            self._tensors[name] = tensor.to(compute)
        self._layers = [self._layer_tensors(i) for i in range(config.num_hidden_layers)]

    @classmethod
    def load(cls, folder, **options):
        return cls(ModelConfig.load(folder), load_checkpoint(folder), **options)

    def __getitem__(self, name):
        return self._tensors[name]

    def _layer_tensors(self, index):
        prefix = f"model.layers.{index}."
        layer = {name[len(prefix):]: tensor for name, tensor in self._tensors.items()
                 if name.startswith(prefix)}
        if "attention.decay" not in layer:
            layer["attention.decay"] = torch.ones(self.config.num_heads, dtype=self.compute,
                                                  device=self.device)
        return layer

    def layer(self, index):
        """The tensors of one layer by their names within it; decay is always there."""
        return self._layers[index]

    def product(self, x, weight):
        """x weight^T with the left operand rounded as the checkpoint's type asks."""
        if self._narrow is not None:
            x = x.to(self._narrow).to(self.compute)
        return x @ weight.T

    def norm(self, x, layer, name):
        return equations.norm(x, layer[f"{name}.weight"], layer.get(f"{name}.bias"),
                              self.config.norm_eps)

    def linear(self, x, layer, name):
        return self.product(x, layer[f"attention.{name}.weight"]) + layer[f"attention.{name}.bias"]

    def embed(self, tokens):
        """tokens [T] -> x [T, d]."""
        return self._tensors["model.embed_tokens.weight"][tokens] * self.config.embedding_multiplier

    def head(self, x):
        """x [T, d] -> logits [T, vocab]."""
        tied = "lm_head.weight" not in self._tensors
        weight = self._tensors["model.embed_tokens.weight" if tied else "lm_head.weight"]
        return self.product(self.norm(x, self._tensors, "model.norm"), weight)

    def queries_and_keys(self, c, layer):
        """phi(q), phi(k) of c [T, d]: each [T, H, dk]."""
        heads, kind = self.config.num_heads, self.config.feature_map
        zz = F.silu(self.linear(c, layer, "shared_proj"))
        both = []
        for name in ("q", "k"):
            affine = zz * layer[f"attention.{name}_scale"] + layer[f"attention.{name}_bias"]
            both.append(equations.feature_map(affine, kind).reshape(len(c), heads, -1))
        return both

    def values(self, u, layer):
        """w of u [T, d]: [T, H, dv]."""
        return F.silu(self.linear(u, layer, "value_proj")).reshape(
            len(u), self.config.num_heads, -1)

    def close_layer(self, x, c, o, layer):
        """Everything after the attention: per-head norm, gates, residual, FFN. o [T, H, dv]."""
        scale = layer["attention.norm.weight"].reshape(o.shape[1:])
        o = equations.rms_norm(o, scale, self.config.norm_eps).flatten(1)
        reset = F.silu(self.linear(c, layer, "reset_gate"))
        update = torch.sigmoid(self.linear(c, layer, "update_gate"))
        candidate = self.linear(c, layer, "candidate_proj")
        h = F.silu(candidate + self.product(reset * o, layer["attention.out_proj.weight"]))
        y = update * h + (1 - update) * x
        n = self.norm(y, layer, "norm2")
        hidden = self.product(n, layer["ffn.up_proj.weight"])
        if self.config.ffn == "swiglu":
            hidden = F.silu(self.product(n, layer["ffn.gate_proj.weight"])) * hidden
        else:
            hidden = F.silu(hidden)
        return y + self.product(hidden, layer["ffn.down_proj.weight"])

    def long_convolution(self, a, layer, state):
        """c of a [T, d], and the convolution's new state."""
        kind = self.config.long_conv.kind
        if kind == "none":
            return a, None
        if kind == "explicit":
            c, state = equations.explicit_convolution(a, layer["long_conv.kernel"], state)
        else:
            c, state = equations.hierarchical_convolution(
                a, layer["long_conv.taps0"], layer["long_conv.taps"], state)
        return c + layer["long_conv.skip"] * a, state

    @torch.no_grad()
    def forward(self, tokens, states=None):
        """tokens [T] (T >= 1) after `states` -> logits [T, vocab] and the states after them."""
        states = states or [(None, None, None)] * self.config.num_hidden_layers
        x, after = self.embed(tokens), []
        for index, (short, long, attention) in enumerate(states):
            layer = self.layer(index)
            u = self.norm(x, layer, "norm1")
            pre, short = equations.short_convolution(
                u, layer["short_conv.weight"], layer["short_conv.bias"], short)
            c, long = self.long_convolution(F.silu(pre), layer, long)
            q, k = self.queries_and_keys(c, layer)
            o, attention = equations.linear_attention(
                q, k, self.values(u, layer), layer["attention.decay"], attention)
            x = self.close_layer(x, c, o, layer)
            after.append((short, long, attention))
        return self.head(x), after
