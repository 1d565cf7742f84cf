"""The fused kernels of training against their plain forms; needs a GPU with Triton."""
import pytest
import torch

from models.reference import training_ops

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or training_ops.triton_conv is None,
    reason="needs a CUDA GPU and Triton")


def relative(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


def compare(fast, plain, inputs, dtype):
    """Largest relative error of the output and of every gradient; plain runs in float64."""
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    got, want = fast(*inputs), plain(*wide)
    grad = torch.randn_like(got)
    gradients = zip(torch.autograd.grad(got, inputs, grad),
                    torch.autograd.grad(want, wide, grad.double()))
    worst = max([relative(got, want)] + [relative(a, b) for a, b in gradients])
    # Up to T terms of float32 noise, or a few roundings to bfloat16 between kernels.
    assert worst < (1e-5 if dtype == torch.float32 else 1e-2)


def leaf(*shape, dtype=torch.float32):
    return torch.randn(*shape, device="cuda").to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_short_convolution(dtype):
    compare(training_ops.triton_conv.short_convolution, training_ops.plain_short_convolution,
            [leaf(2, 320, 96, dtype=dtype), leaf(96, 7), leaf(96)], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("base, levels", [(16, 9), (4, 7), (8, 3)])
def test_hierarchical_convolution(dtype, base, levels):
    compare(training_ops.triton_conv.hierarchical_convolution,
            training_ops.plain_hierarchical_convolution,
            [leaf(2, 1024, 96, dtype=dtype), leaf(96, base), leaf(levels, 96, base // 2), leaf(96)],
            dtype)
