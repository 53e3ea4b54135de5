"""What training leaves in normalizations, made up, so that folding and merging them has something to do.

A fresh batch normalization has mean 0, variance 1, gain 1 and bias 0: a defect in folding it would not be seen.
"""

from __future__ import annotations

import torch

_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)


def give_statistics(net: torch.nn.Module, seed: int) -> None:
    """Means, variances, gains and biases of every batch normalization from a seed, in place.

    Variances and gains are around 1, so that signals keep their size. On the meta device nothing happens.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, _NORMS) and not norm.weight.is_meta:
                assert norm.running_mean is not None  # noqa: S101 - tells type checkers
                assert norm.running_var is not None  # noqa: S101
                norm.running_mean.copy_(uniform(-0.2, 0.2, norm.running_mean))
                norm.running_var.copy_(uniform(0.7, 1.4, norm.running_var))
                norm.weight.copy_(uniform(0.8, 1.25, norm.weight))
                norm.bias.copy_(uniform(-0.1, 0.1, norm.bias))


def give_biases(net: torch.nn.Module, seed: int) -> None:
    """Biases of all products, gains and biases of all other norms from a seed, in place, small and around 1.

    torch's own biases come from a generator of the whole process, and fresh norms have none: additions of zeros,
    which every compiler removes and no quantizer has a scale for. On the meta device nothing happens.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, _NORMS):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 1 and not parameter.is_meta:
                    if name == "bias":
                        parameter.copy_(uniform(-0.1, 0.1, parameter))
                    elif name in {"weight", "gain"}:
                        parameter.copy_(uniform(0.8, 1.25, parameter))
