"""The equations of the model on a run of tokens, with the state before it and after it.

One function a piece, plain PyTorch, any float type, no training tricks: this is what every faster
form is compared with. A run may start anywhere in a sequence and have any length >= 1; each
function takes the state left by the tokens before it (None at the start) and returns the new one.
Shapes are those of one sequence: [T, channels]. `recurrent.py` says the same one token at a time.
"""
import torch
import torch.nn.functional as F

ATTENTION_BLOCK = 128  # positions that meet each other directly; any value gives the same numbers


def rms_norm(x, weight, eps):
    """x / sqrt(mean(x^2) + eps) . weight over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def norm(x, weight, bias, eps):
    """RMSNorm, or LayerNorm (biased variance) when there is a bias."""
    if bias is None:
        return rms_norm(x, weight, eps)
    centred = x - x.mean(-1, keepdim=True)
    return rms_norm(centred, weight, eps) + bias


def feature_map(x, kind):
    """phi of queries and keys."""
    if kind == "elu1":
        return F.elu(x) + 1
    return F.silu(x) if kind == "silu" else x


def short_convolution(u, weight, bias, history):
    """k_s * u + b_s. u [T, d], weight [d, K] whose last column meets the current token.

    State: the K - 1 inputs before, [K - 1, d].
    """
    taps = weight.shape[1]
    if history is None:
        history = u.new_zeros(taps - 1, u.shape[1])
    padded = torch.cat([history, u])
    out = sum(weight[:, i] * padded[i:i + len(u)] for i in range(taps)) + bias
    return out, padded[len(padded) - (taps - 1):]


def explicit_convolution(a, kernel, history):
    """c_t = sum over m < N of kernel[m] a_{t-m}, by one FFT. a [T, d], kernel [d, N].

    State: the N - 1 inputs before, [N - 1, d].
    """
    taps = kernel.shape[1]
    if history is None:
        history = a.new_zeros(taps - 1, a.shape[1])
    padded = torch.cat([history, a])
    size = 1 << (len(padded) + taps - 1).bit_length()  # no wrap-around; a power of two is fast
    spectrum = torch.fft.rfft(padded, n=size, dim=0) * torch.fft.rfft(kernel.T, n=size, dim=0)
    out = torch.fft.irfft(spectrum, n=size, dim=0)[taps - 1:taps - 1 + len(a)]
    return out, padded[len(padded) - (taps - 1):]


def _sliding(padded, taps, newest, count):
    """sum over m of taps[:, m] * padded[newest + i - m] for i < count; taps [d, M]."""
    return sum(taps[:, m] * padded[newest - m:newest - m + count] for m in range(taps.shape[1]))


def hierarchical_convolution(a, taps0, taps, state):
    """The hierarchical kernel, without the skip term. a [T, d], taps0 [d, B], taps [S, d, B/2].

    Work starts at the last multiple of 2^S at or before the run, where the blocks of every level
    begin together. State: the inputs since that position [< 2^S, d], and for every level 0..S the
    B - 1 blocks before it, [B - 1, d] (level 0: the inputs themselves).
    """
    base, levels = taps0.shape[1], len(taps)
    if state is None:
        state = (a[:0], [a.new_zeros(base - 1, a.shape[1]) for _ in range(levels + 1)])
    tail, histories = state
    means = [torch.cat([tail, a])]
    for _ in range(levels):
        whole = len(means[-1]) // 2
        means.append((means[-1][0:2 * whole:2] + means[-1][1:2 * whole:2]) / 2)
    padded = [torch.cat([history, level]) for history, level in zip(histories, means)]
    coarser = None  # z of level j + 1, from the block before the aligned position on
    for level in range(levels, 0, -1):
        count = len(means[level]) + 1
        z = _sliding(padded[level], taps[level - 1], base // 2 - 1, count)
        if coarser is not None:
            z = z + coarser[torch.arange(count, device=a.device) // 2]
        coarser = z
    count = len(means[0])
    up = coarser[torch.arange(1, count + 1, device=a.device) // 2]
    out = _sliding(padded[0], taps0, base - 1, count) + up
    blocks = count >> levels  # the new aligned position, in blocks of the coarsest level
    kept = [p[:base - 1 + (blocks << (levels - j))][-(base - 1):] for j, p in enumerate(padded)]
    return out[len(tail):], (means[0][blocks << levels:], kept)


def linear_attention(q, k, w, decay, state):
    """o_t = S_t^T q_t with S_t = decay S_{t-1} + k_t w_t^T. q, k [T, H, dk], w [T, H, dv].

    q and k have passed the feature map. decay [H]. State: S, [H, dk, dv].
    """
    heads = q.shape[1]
    if state is None:
        state = q.new_zeros(heads, q.shape[2], w.shape[2])
    out = []
    for begin in range(0, len(q), ATTENTION_BLOCK):
        qb, kb, wb = (x[begin:begin + ATTENTION_BLOCK].transpose(0, 1) for x in (q, k, w))
        steps = torch.arange(qb.shape[1], device=q.device)
        age = (steps[:, None] - steps[None, :]).clamp(min=0)
        weight = (decay[:, None, None] ** age).tril()
        since = decay[:, None] ** (steps + 1)  # S_0's factor at each position
        inside = (qb @ kb.transpose(1, 2) * weight) @ wb
        out.append((inside + since[..., None] * (qb @ state)).transpose(0, 1))
        remaining = decay[:, None] ** (len(steps) - 1 - steps)
        state = since[:, -1, None, None] * state + (kb * remaining[..., None]).transpose(1, 2) @ wb
    return torch.cat(out), state
