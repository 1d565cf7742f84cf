"""Fused Triton kernels of the short and the hierarchical convolution, forward and backward.

Same functions as plain_short_convolution and plain_hierarchical_convolution, on contiguous
[B, T, C] tensors. Loads are what they cost, so each kernel works on a tile of rows x channels
(channel fastest, one row of a tile is one coalesced access) and takes shifted rows from cache.
Sums are float32; tensors between kernels have the type of the input.

Levels 1..S of the pyramid lie one after another in one [B, T, C] buffer: level j has T >> j rows
from row T - 2 (T >> j) on. T must be a multiple of 2^S.
"""
import functools

import torch
import triton
import triton.language as tl

ROWS, CHANNELS, GRAD_ROWS = 64, 64, 128  # tiles; GRAD_ROWS for those that sum over rows


@triton.jit
def _tap_sum(x, taps, base, row, rows, col, mask_col, C: tl.constexpr, M: tl.constexpr,
             DELAY: tl.constexpr, DIR: tl.constexpr):
    """sum over m < M of taps[m] x[row + DIR (DELAY + m)]; rows outside [0, rows) count as 0."""
    acc = tl.zeros((row.shape[0], col.shape[0]), tl.float32)
    for m in tl.static_range(M):
        source = row + DIR * (DELAY + m)
        ok = (source >= 0) & (source < rows)
        value = tl.load(x + (base + source)[:, None] * C + col[None, :],
                        mask=ok[:, None] & mask_col[None, :], other=0.0).to(tl.float32)
        acc += value * tl.load(taps + m * C + col, mask=mask_col, other=0.0)[None, :]
    return acc


@triton.jit
def _short_forward(u, taps, bias, out, T, C: tl.constexpr, K: tl.constexpr, R: tl.constexpr,
                   W: tl.constexpr):
    """out = SiLU(conv(u) + bias). taps [K, C]: taps[m] is the tap of lag m."""
    row = tl.program_id(0) * R + tl.arange(0, R)
    col = tl.program_id(1) * W + tl.arange(0, W)
    base, mask_col = tl.program_id(2).to(tl.int64) * T, col < C
    pre = _tap_sum(u, taps, base, row, T, col, mask_col, C, K, 0, -1)
    pre += tl.load(bias + col, mask=mask_col, other=0.0)[None, :]
    mask = (row < T)[:, None] & mask_col[None, :]
    tl.store(out + (base + row)[:, None] * C + col[None, :],
             (pre * tl.sigmoid(pre)).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _short_backward(u, taps, bias, grad, grad_pre, partial, T, C: tl.constexpr, K: tl.constexpr,
                    R: tl.constexpr, W: tl.constexpr):
    """Gradient before SiLU, and a tile's part of the gradients of taps (rows 0..K-1) and bias."""
    tile = tl.program_id(0)
    row = tile * R + tl.arange(0, R)
    col = tl.program_id(1) * W + tl.arange(0, W)
    base, mask_col = tl.program_id(2).to(tl.int64) * T, col < C
    pre = _tap_sum(u, taps, base, row, T, col, mask_col, C, K, 0, -1)
    pre += tl.load(bias + col, mask=mask_col, other=0.0)[None, :]
    gate = tl.sigmoid(pre)
    mask = (row < T)[:, None] & mask_col[None, :]
    place = (base + row)[:, None] * C + col[None, :]
    given = tl.load(grad + place, mask=mask, other=0.0).to(tl.float32)
    inner = given * gate * (1 + pre * (1 - gate))
    tl.store(grad_pre + place, inner.to(grad_pre.dtype.element_ty), mask=mask)
    slot = (tl.program_id(2) * tl.num_programs(0) + tile).to(tl.int64) * (K + 1) * C
    for m in tl.static_range(K):
        source = row - m
        value = tl.load(u + (base + source)[:, None] * C + col[None, :],
                        mask=(source >= 0)[:, None] & mask, other=0.0).to(tl.float32)
        tl.store(partial + slot + m * C + col, tl.sum(value * inner, 0), mask=mask_col)
    tl.store(partial + slot + K * C + col, tl.sum(inner, 0), mask=mask_col)


@triton.jit
def _pyramid(x, out, T, in_rows, in_row0, in_level, SHIFT: tl.constexpr, SCALE: tl.constexpr,
             C: tl.constexpr, LEVELS: tl.constexpr, R: tl.constexpr, W: tl.constexpr):
    """LEVELS levels above the one at x: means (SCALE 0.5, SHIFT 0) or shifted sums (1, 1).

    SHIFT 1 is the transpose of Up: out_1[i] = x[2i + 1] + x[2i + 2], which is the aligned sum of
    block i + 1 of x delayed by one. Rows R = 2^LEVELS; x holds level in_level at row in_row0.
    """
    block = tl.program_id(0)
    row = block * R + tl.arange(0, R) - SHIFT
    col = tl.program_id(1) * W + tl.arange(0, W)
    base, mask_col = tl.program_id(2).to(tl.int64) * T, col < C
    ok = (row >= 0) & (row < in_rows)
    value = tl.load(x + (base + in_row0 + row)[:, None] * C + col[None, :],
                    mask=ok[:, None] & mask_col[None, :], other=0.0).to(tl.float32)
    for step in tl.static_range(LEVELS):
        value = tl.sum(tl.reshape(value, (R >> (step + 1), 2, W)), 1) * SCALE
        rows = T >> (in_level + step + 1)
        target = block * (R >> (step + 1)) + tl.arange(0, R >> (step + 1)) - SHIFT
        keep = (target >= 0) & (target < rows)
        tl.store(out + (base + T - 2 * rows + target)[:, None] * C + col[None, :],
                 value.to(out.dtype.element_ty), mask=keep[:, None] & mask_col[None, :])


@triton.jit
def _levels(x, taps, tiles, out, T, C: tl.constexpr, M: tl.constexpr, DIR: tl.constexpr,
            R: tl.constexpr, W: tl.constexpr):
    """out_j = convolution of x_j with taps_j [S, M, C], for all levels; tiles: (level, row)."""
    level = tl.load(tiles + 2 * tl.program_id(0))
    row = tl.load(tiles + 2 * tl.program_id(0) + 1) + tl.arange(0, R)
    col = tl.program_id(1) * W + tl.arange(0, W)
    rows = T >> level
    base, mask_col = tl.program_id(2).to(tl.int64) * T + T - 2 * rows, col < C
    acc = _tap_sum(x, taps + (level - 1) * M * C, base, row, rows, col, mask_col, C, M, M - 1, DIR)
    tl.store(out + (base + row)[:, None] * C + col[None, :], acc.to(out.dtype.element_ty),
             mask=(row < rows)[:, None] & mask_col[None, :])


@triton.jit
def _finest(x, taps, skip, levels, out, T, C: tl.constexpr, M: tl.constexpr, S: tl.constexpr,
            DIR: tl.constexpr, R: tl.constexpr, W: tl.constexpr):
    """out = convolution with taps [M, C] + skip . x + the levels' share of each row.

    DIR -1 (forward): level j gives its row floor((t + 1) / 2^j) - 1. DIR 1 (backward): a mean
    spreads its gradient, so level j gives 2^-j times its row floor(t / 2^j).
    """
    row = tl.program_id(0) * R + tl.arange(0, R)
    col = tl.program_id(1) * W + tl.arange(0, W)
    base, mask_col = tl.program_id(2).to(tl.int64) * T, col < C
    mask = (row < T)[:, None] & mask_col[None, :]
    place = (base + row)[:, None] * C + col[None, :]
    acc = _tap_sum(x, taps, base, row, T, col, mask_col, C, M, 0, DIR)
    acc += tl.load(x + place, mask=mask, other=0.0).to(tl.float32) * \
        tl.load(skip + col, mask=mask_col, other=0.0)[None, :]
    scale = 1.0
    for j in tl.static_range(1, S + 1):
        source = ((row + 1) >> j) - 1 if DIR < 0 else row >> j
        if DIR > 0:
            scale = scale * 0.5
        start = T - 2 * (T >> j)
        value = tl.load(levels + (base + start + source)[:, None] * C + col[None, :],
                        mask=(source >= 0)[:, None] & mask, other=0.0)
        acc += value.to(tl.float32) * scale
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _tap_gradients(x, grad, tiles, partial, T, C: tl.constexpr, M: tl.constexpr,
                   DELAY: tl.constexpr, SKIP: tl.constexpr, R: tl.constexpr, W: tl.constexpr):
    """A tile's part of sum over rows of grad[i] x[i - DELAY - m], m < M; SKIP adds lag 0 as row M.

    tiles: (level, row); level 0 is a plain [B, T, C] buffer.
    """
    tile = tl.program_id(0)
    level = tl.load(tiles + 2 * tile)
    row = tl.load(tiles + 2 * tile + 1) + tl.arange(0, R)
    col = tl.program_id(1) * W + tl.arange(0, W)
    rows = T >> level
    start = tl.where(level == 0, 0, T - 2 * rows)
    base, mask_col = tl.program_id(2).to(tl.int64) * T + start, col < C
    mask = (row < rows)[:, None] & mask_col[None, :]
    given = tl.load(grad + (base + row)[:, None] * C + col[None, :], mask=mask,
                    other=0.0).to(tl.float32)
    slot = (tile * tl.num_programs(2) + tl.program_id(2)).to(tl.int64) * (M + SKIP) * C
    for m in tl.static_range(M + SKIP):
        source = row - (DELAY + m if m < M else 0)
        value = tl.load(x + (base + source)[:, None] * C + col[None, :],
                        mask=(source >= 0)[:, None] & mask, other=0.0).to(tl.float32)
        tl.store(partial + slot + m * C + col, tl.sum(value * given, 0), mask=mask_col)


@functools.lru_cache(maxsize=None)
def _tile_table(length, first, last, rows, device):
    """(level, first row) of every tile of levels first..last, and [levels, tiles] membership."""
    pairs = [(level, row) for level in range(first, last + 1)
             for row in range(0, length >> level, rows)]
    member = torch.zeros(last - first + 1, len(pairs))
    for index, (level, _) in enumerate(pairs):
        member[level - first, index] = 1
    return torch.tensor(pairs, dtype=torch.int32, device=device), member.to(device)


def _grid(x, rows=ROWS):
    return triton.cdiv(x.shape[1], rows), triton.cdiv(x.shape[2], CHANNELS), x.shape[0]


def _by_lag(taps):
    """[..., C, M] -> contiguous float32 [..., M, C]."""
    return taps.detach().float().transpose(-1, -2).contiguous()


def _build_pyramid(x, levels, shift):
    """Levels 1..levels over x in one [B, T, C] buffer, six at a time."""
    batch, length, channels = x.shape
    out, source, level, row0 = torch.empty_like(x), x, 0, 0
    while level < levels:
        step = min(6, levels - level)
        rows = length >> level
        grid = ((rows >> step) + shift, triton.cdiv(channels, CHANNELS), batch)
        _pyramid[grid](source, out, length, rows, row0, level, SHIFT=shift,
                       SCALE=1.0 if shift else 0.5, C=channels, LEVELS=step, R=1 << step,
                       W=CHANNELS)
        level, source = level + step, out
        row0 = length - 2 * (length >> level)
    return out


def _convolve_levels(x, taps, levels, direction):
    tiles, _ = _tile_table(x.shape[1], 1, levels, ROWS, x.device)
    out = torch.empty_like(x)
    _levels[(len(tiles),) + _grid(x)[1:]](x, taps, tiles, out, x.shape[1], C=x.shape[2],
                                         M=taps.shape[1], DIR=direction, R=ROWS, W=CHANNELS)
    return out


def _gradients_of_taps(x, grad, first, last, taps, delay, skip):
    """[levels, M + skip, C]: the sum over batch and rows, level by level."""
    tiles, member = _tile_table(x.shape[1], first, last, GRAD_ROWS, x.device)
    partial = torch.empty(len(tiles), x.shape[0], taps + skip, x.shape[2], device=x.device)
    _tap_gradients[(len(tiles),) + _grid(x)[1:]](
        x, grad, tiles, partial, x.shape[1], C=x.shape[2], M=taps, DELAY=delay, SKIP=skip,
        R=GRAD_ROWS, W=CHANNELS)
    return (member @ partial.sum(1).flatten(1)).reshape(len(member), taps + skip, -1)


@torch.library.custom_op("chela::short_convolution", mutates_args=())
def short_convolution(u: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """SiLU(k_s * u + b_s). u [B, T, C] contiguous, weight [C, K] (last tap: current token)."""
    out = torch.empty_like(u)
    _short_forward[_grid(u)](u, _by_lag(weight.flip(-1)), bias, out, u.shape[1], C=u.shape[2],
                             K=weight.shape[1], R=ROWS, W=CHANNELS)
    return out


@torch.library.custom_op("chela::short_convolution_backward", mutates_args=())
def _short_gradients(u: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor,
                     grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count, taps = weight.shape[1], _by_lag(weight.flip(-1))
    grad, grid = grad.contiguous(), _grid(u, GRAD_ROWS)
    grad_pre, grad_u = torch.empty_like(u), torch.empty_like(u)
    partial = torch.empty(grid[0] * grid[2], count + 1, u.shape[2], device=u.device)
    _short_backward[grid](u, taps, bias, grad, grad_pre, partial, u.shape[1], C=u.shape[2],
                          K=count, R=GRAD_ROWS, W=CHANNELS)
    # The gradient of u is the same sum run backwards in time: no skip, no levels.
    zero = torch.zeros_like(bias)
    _finest[_grid(u)](grad_pre, taps, zero, grad_pre, grad_u, u.shape[1], C=u.shape[2], M=count,
                      S=0, DIR=1, R=ROWS, W=CHANNELS)
    sums = partial.sum(0)
    return grad_u, sums[:count].flip(0).T.contiguous(), sums[count].clone()


@torch.library.custom_op("chela::hierarchical_convolution", mutates_args=())
def _hierarchical(a: torch.Tensor, taps0: torch.Tensor, taps: torch.Tensor,
                  skip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    levels, base = taps.shape[0], taps0.shape[1]
    means = _build_pyramid(a, levels, shift=0)
    shares = _convolve_levels(means, _by_lag(taps), levels, direction=-1)
    out = torch.empty_like(a)
    _finest[_grid(a)](a, _by_lag(taps0), skip, shares, out, a.shape[1], C=a.shape[2], M=base,
                      S=levels, DIR=-1, R=ROWS, W=CHANNELS)
    return out, means


@torch.library.custom_op("chela::hierarchical_convolution_backward", mutates_args=())
def _hierarchical_gradients(
        a: torch.Tensor, means: torch.Tensor, taps0: torch.Tensor, taps: torch.Tensor,
        skip: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    levels, base = taps.shape[0], taps0.shape[1]
    half, grad = base // 2, grad.contiguous()
    sums = _build_pyramid(grad, levels, shift=1)
    shares = _convolve_levels(sums, _by_lag(taps), levels, direction=1)
    grad_a = torch.empty_like(a)
    _finest[_grid(a)](grad, _by_lag(taps0), skip, shares, grad_a, a.shape[1], C=a.shape[2], M=base,
                      S=levels, DIR=1, R=ROWS, W=CHANNELS)
    finest = _gradients_of_taps(a, grad, 0, 0, base, 0, skip=1)[0]
    coarse = _gradients_of_taps(means, sums, 1, levels, half, half - 1, skip=0)
    return (grad_a, finest[:base].T.contiguous(), coarse.transpose(1, 2).contiguous(),
            finest[base].clone())


def hierarchical_convolution(a, taps0, taps, skip):
    """c of a [B, T, C] contiguous, T a multiple of 2^S; taps0 [C, B0], taps [S, C, B0/2]."""
    return _hierarchical(a, taps0, taps, skip)[0]


def _save_short(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _save_hierarchical(ctx, inputs, output):
    a, taps0, taps, skip = inputs
    ctx.save_for_backward(a, output[1], taps0, taps, skip)


short_convolution.register_fake(lambda u, weight, bias: torch.empty_like(u))
_short_gradients.register_fake(lambda u, weight, bias, grad: (
    torch.empty_like(u), torch.empty_like(weight), torch.empty_like(bias)))
short_convolution.register_autograd(
    lambda ctx, grad: _short_gradients(*ctx.saved_tensors, grad), setup_context=_save_short)
_hierarchical.register_fake(lambda a, taps0, taps, skip: (torch.empty_like(a),
                                                          torch.empty_like(a)))
_hierarchical_gradients.register_fake(lambda a, means, taps0, taps, skip, grad: (
    torch.empty_like(a), torch.empty_like(taps0), torch.empty_like(taps), torch.empty_like(skip)))
_hierarchical.register_autograd(
    lambda ctx, grad, _: _hierarchical_gradients(*ctx.saved_tensors, grad),
    setup_context=_save_hierarchical)
