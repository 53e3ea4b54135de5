r"""Sums of parallel depthwise convolutions, each with its batch normalization, and the one convolution they equal.

Convolution is linear in its kernel, so that branches on the same input add up to one. For a channel,

    gain (K * x - mean) / s + bias = (K gain / s) * x + (bias - mean gain / s),   s = sqrt(variance + eps)

and a kernel of k taps at distance r is a kernel of r (k - 1) + 1 taps of which all others are zero. Trained apart,
the branches see near and far without the optimizer having to find it out; shipped, they cost one convolution
(X. Ding et al., UniRepLKNet, arXiv:2311.15599, figure 2).
"""

from __future__ import annotations

import functools
import operator

import torch

from edgepack.exporters.architectures.blocks._convolution import ConvNorm

BRANCHES = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}
"""Taps and dilation of the branches beside a kernel of that size: the authors' public code."""


def folded(conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel and bias of the convolution that equals `conv` followed by `norm`."""
    assert norm.running_mean is not None  # noqa: S101 - tells type checkers
    assert norm.running_var is not None  # noqa: S101
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    before = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    return conv.weight * factor[:, None, None, None], norm.bias + before * factor


def with_weights(like: torch.nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Conv2d:
    """A convolution without dilation, "same" padding, stride and groups as `like`, and these weights."""
    kernel = (weight.shape[2], weight.shape[3])
    padding = (kernel[0] // 2, kernel[1] // 2)
    made = torch.nn.Conv2d(like.in_channels, like.out_channels, kernel, padding=padding, groups=like.groups)
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)  # type: ignore[union-attr]
    return made


class DilatedBranches(torch.nn.Module):
    """A depthwise convolution of `kernel` x `kernel`, and the branches that `BRANCHES` has beside it."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        sizes = ((kernel, 1), *BRANCHES[kernel])
        self.branches = torch.nn.ModuleList(
            ConvNorm(width, width, taps, dilation=dilation, groups=width) for taps, dilation in sizes
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        total: torch.Tensor = functools.reduce(operator.add, (branch(x) for branch in self.branches))
        return total

    def merged(self) -> torch.nn.Conv2d:
        """The one convolution that this equals."""
        like = self.branches[0].conv
        assert isinstance(like, torch.nn.Conv2d)  # noqa: S101 - tells type checkers
        kernel = torch.zeros_like(like.weight)
        total = torch.zeros_like(like.weight[:, 0, 0, 0])
        for branch in self.branches:
            assert isinstance(branch, ConvNorm)  # noqa: S101
            weight, bias = folded(branch.conv, branch.norm)
            dilation = branch.conv.dilation[0]
            first = (self.kernel - dilation * (weight.shape[-1] - 1) - 1) // 2
            places = slice(first, self.kernel - first, dilation)
            kernel[:, :, places, places] += weight.detach()
            total += bias.detach()
        return with_weights(like, kernel, total)
