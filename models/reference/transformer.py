"""The peer: a Llama-style Transformer (RMSNorm, rotary positions, SwiGLU, tied head)."""
import dataclasses

import torch
import torch.nn as nn
import torch.nn.functional as F

from .model import Norm


@dataclasses.dataclass
class TransformerConfig:
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_heads: int
    intermediate_size: int
    norm_eps: float = 1e-5
    rope_base: float = 10000.0
    embedding_multiplier: float = 1.0


def rotary_tables(length, width, base, device):
    """cos and sin [length, width / 2] in float32."""
    frequency = base ** (-torch.arange(0, width, 2, device=device).float() / width)
    angle = torch.arange(length, device=device).float()[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x, tables):
    """x [B, H, T, e] turned by its position, halves paired."""
    cos, sin = (table.to(x.dtype) for table in tables)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def causal_attention(q, k, v):
    """softmax(q k^T / sqrt(e)) v on [B, H, T, e], each position with its past."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # PyTorch 1.13 has no fused form
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return torch.softmax(scores.masked_fill(future, float("-inf")), -1) @ v


class TransformerLayer(nn.Module):
    def __init__(self, config, dropout):
        super().__init__()
        self.config, self.dropout = config, dropout
        d, f = config.hidden_size, config.intermediate_size
        self.norm1, self.norm2 = (Norm(d, "rmsnorm", config.norm_eps) for _ in range(2))
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.gate, self.up = nn.Linear(d, f, bias=False), nn.Linear(d, f, bias=False)
        self.down = nn.Linear(f, d, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def _dropped(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, x, tables):
        """x [B, T, d] -> [B, T, d]; tables: rotary_tables of T positions."""
        batch, length, _ = x.shape
        heads = self.config.num_heads
        qkv = F.linear(self.norm1(x), self.qkv.weight.to(x.dtype))
        q, k, v = (part.reshape(batch, length, heads, -1).transpose(1, 2)
                   for part in qkv.chunk(3, dim=-1))
        o = causal_attention(rotate(q, tables), rotate(k, tables), v)
        o = F.linear(o.transpose(1, 2).reshape(x.shape), self.out.weight.to(x.dtype))
        x = x + self._dropped(o)
        n = self.norm2(x)
        both = torch.cat([self.gate.weight, self.up.weight]).to(x.dtype)
        gate, up = F.linear(n, both).chunk(2, dim=-1)
        return x + self._dropped(F.linear(F.silu(gate) * up, self.down.weight.to(x.dtype)))


class TransformerModel(nn.Module):
    """tokens [B, T] -> the normed last layer [B, T, d]; the head is `head_weight`."""

    def __init__(self, config, activations=torch.float32, dropout=0.0):
        super().__init__()
        self.config, self.activations = config, activations
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(TransformerLayer(config, dropout)
                                    for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, "rmsnorm", config.norm_eps)

    def head_weight(self):
        return self.embed_tokens.weight

    def forward(self, tokens):
        x = self.embed_tokens(tokens) * self.config.embedding_multiplier
        x = x.to(self.activations)
        width = self.config.hidden_size // self.config.num_heads
        tables = rotary_tables(tokens.shape[1], width, self.config.rope_base, x.device)
        for layer in self.layers:
            x = layer(x, tables)
        return self.norm(x)
