"""The sequence operations of training, on batches [B, T, channels] from an empty state.

Each is differentiable plain PyTorch and runs anywhere; `use_fast_kernels()` says whether the
convolutions go to the fused kernels of `triton_conv.py` instead, which compute the same.
"""
import torch
import torch.nn.functional as F

try:
    from . import triton_conv
except ImportError:  # no Triton: a CPU, or an older PyTorch
    triton_conv = None

CHUNK = 128  # tokens that meet each other directly in linear attention


def use_fast_kernels(x):
    return triton_conv is not None and x.is_cuda


def shifted(x, steps):
    """x[t - steps] along the second axis, 0 before the start."""
    return F.pad(x, (0, 0, steps, 0))[:, :x.shape[1]] if steps else x


def plain_short_convolution(u, weight, bias):
    """SiLU(k_s * u + b_s). u [B, T, d], weight [d, K], bias [d]."""
    taps = weight.shape[1]
    return F.silu(sum(weight[:, k] * shifted(u, taps - 1 - k) for k in range(taps)) + bias)


def plain_hierarchical_convolution(a, taps0, taps, skip):
    """c of a [B, T, d]; taps0 [d, B0], taps [S, d, B0/2], skip [d]. Any T.

    The parallel form: z = C_S; for j = S-1 .. 1: z = C_j + Up(z); c = C_0 + Up(z) + skip . a.
    """
    half = taps0.shape[1] // 2
    sums, means = [], a
    for level in taps:
        whole = means.shape[1] // 2
        if whole == 0:  # no complete block of this width, so nothing from here on
            break
        means = (means[:, 0:2 * whole:2] + means[:, 1:2 * whole:2]) / 2
        sums.append(sum(level[:, m] * shifted(means, half - 1 + m) for m in range(half)))
    out = sum(taps0[:, m] * shifted(a, m) for m in range(2 * half)) + skip * a
    coarser = None
    for finer in reversed(sums):
        coarser = finer if coarser is None else finer + _up(coarser, finer.shape[1])
    return out if coarser is None else out + _up(coarser, a.shape[1])


def _up(z, length):
    """Up(z)[n] = z[floor((n + 1) / 2) - 1], 0 for n = 0."""
    index = torch.arange(1, length + 1, device=z.device) // 2
    return F.pad(z, (0, 0, 1, 0))[:, index]


def explicit_convolution(a, kernel, skip):
    """c of a [B, T, d] by FFT in float32 or wider; kernel [d, N], skip [d]."""
    length = a.shape[1]
    used = kernel[:, :length]
    size = 1 << (length + used.shape[1] - 1).bit_length()
    wide = a if a.dtype == torch.float64 else a.float()
    spectrum = torch.fft.rfft(wide, n=size, dim=1) * torch.fft.rfft(used.T.to(wide.dtype), n=size,
                                                                    dim=0)
    return (torch.fft.irfft(spectrum, n=size, dim=1)[:, :length] + skip * wide).to(a.dtype)


def short_convolution(u, weight, bias):
    if use_fast_kernels(u):
        return triton_conv.short_convolution(u, weight, bias)
    return plain_short_convolution(u, weight, bias)


def hierarchical_convolution(a, taps0, taps, skip):
    if use_fast_kernels(a):
        return triton_conv.hierarchical_convolution(a, taps0, taps, skip)
    return plain_hierarchical_convolution(a, taps0, taps, skip)


def decay_tables(decay, length, dtype):
    """Powers of lambda inside a chunk and between chunks of a sequence; decay [H].

    inside [H, 1, C, C] lambda^(i-j) for j <= i; since [H, 1, C, 1] lambda^(i+1);
    left [H, 1, C, 1] lambda^(C-1-j); across [H, n, n] lambda^(C (n-1-m)) for m < n. Made once a
    step, not in every layer: exponentials in float64 cost more than what they are used for.
    """
    chunk = min(CHUNK, length)
    chunks = -(-length // chunk)
    log = decay.double().log()[:, None, None]
    step = torch.arange(chunk, device=decay.device, dtype=torch.double)
    number = torch.arange(chunks, device=decay.device, dtype=torch.double)
    inside = torch.exp(log * (step[:, None] - step).clamp(min=0)).tril()
    since = torch.exp(log * (step[:, None] + 1))
    left = torch.exp(log * (chunk - 1 - step[:, None]))
    across = torch.exp(log * chunk * (number[:, None] - 1 - number).clamp(min=0)).tril(-1)
    wide = torch.promote_types(dtype, torch.float32)
    inside, since, left = (x[:, None].to(wide) for x in (inside, since, left))
    return inside, since, left, across.to(dtype)


def linear_attention(q, k, w, tables):
    """o of queries and keys [B, T, H, dk] after phi and values [B, T, H, dv]; any T.

    Tile by tile: products inside a chunk, and the state before each chunk as one product over the
    chunks. Everything is a matrix product in the type of w, accumulated in float32. tables: of
    decay_tables for the same T and type.
    """
    batch, length, heads, _ = q.shape
    inside, since, left, across = tables
    chunk, chunks, kind = inside.shape[-1], across.shape[-1], w.dtype
    if chunks * chunk != length:
        q, k, w = (F.pad(x, (0, 0, 0, 0, 0, chunks * chunk - length)) for x in (q, k, w))

    def tiles(x):  # [B, T, H, e] -> [B, H, n, C, e]
        return x.reshape(batch, chunks, chunk, heads, -1).permute(0, 3, 1, 2, 4)

    qt, kt, wt = tiles(q), tiles(k), tiles(w)
    products = (kt * left).to(kind).transpose(-1, -2) @ wt  # [B, H, n, dk, dv]
    before = (across @ products.flatten(-2)).reshape(products.shape)
    scores = ((qt @ kt.transpose(-1, -2)) * inside).to(kind)
    out = scores @ wt + (qt * since).to(kind) @ before
    return out.permute(0, 2, 3, 1, 4).reshape(batch, chunks * chunk, heads, -1)[:, :length]
