"""Muon for the matrices inside the layers, AdamW for everything else.

Muon (Keller Jordan, 2024): the momentum of a matrix is replaced by the nearest matrix with equal
singular values, found by five Newton-Schulz steps. Matrices of one shape are treated as one batch.
"""
import torch

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic whose iteration pushes singular values to 1


def orthogonalised(matrices, steps=5):
    """[n, rows, columns] -> each with singular values near 1, in bfloat16 on a GPU."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, times lr sqrt(max(1, rows / columns)); decoupled decay."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.0):
        by_shape = {}
        for parameter in parameters:
            by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
        groups = [{"params": members} for members in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters, momentum = group["params"], group["momentum"]
            gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                if "momentum" not in self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            buffers = [self.state[parameter]["momentum"] for parameter in parameters]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, gradients)
            mixed = torch._foreach_add(gradients, buffers, alpha=momentum)
            rows, columns = parameters[0].shape
            update = orthogonalised(torch.stack(list(mixed))).unbind(0)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, list(update),
                                alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def build_optimizers(model, settings):
    """settings: matrix_optimizer (muon|adamw), matrix_lr, lr, weight_decay, betas, conv_lr.

    Matrices are the Linear weights of the layers. Convolution taps get conv_lr; only matrices and
    taps decay.
    """
    matrices, taps, other = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and ".layers." in f".{name}" and "_conv." not in name:
            matrices.append(parameter)
        elif "_conv." in name and parameter.dim() > 1:
            taps.append(parameter)
        else:
            other.append(parameter)
    decay = settings["weight_decay"]
    groups = [{"params": other, "lr": settings["lr"], "weight_decay": 0.0},
              {"params": taps, "lr": settings["conv_lr"], "weight_decay": 0.01}]
    optimizers = []
    if settings["matrix_optimizer"] == "muon":
        optimizers.append(Muon(matrices, settings["matrix_lr"], weight_decay=decay))
    else:
        groups.append({"params": matrices, "lr": settings["matrix_lr"], "weight_decay": decay})
    fused = {"fused": True} if next(model.parameters()).is_cuda else {}
    groups = [group for group in groups if group["params"]]
    optimizers.append(torch.optim.AdamW(groups, betas=tuple(settings["betas"]), eps=1e-10, **fused))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers
