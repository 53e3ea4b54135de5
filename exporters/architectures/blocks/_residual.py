"""Residual blocks of two convolutions: relu(x + norm W_2 relu(norm W_1 x)).

K. He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 3 and table 1 (18 and 34 layers).
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._convolution import ConvNorm


class ResidualBlock(torch.nn.Module):
    """`channels` to `width`; where size or channels change, a 1 x 1 convolution changes x as well."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(channels, width, 3, stride=stride, activation=torch.relu)
        self.second = ConvNorm(width, width, 3)
        same = stride == 1 and channels == width
        self.change = torch.nn.Identity() if same else ConvNorm(channels, width, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, width, height / stride, width / stride]."""
        return (self.change(x) + self.second(self.first(x))).relu()  # type: ignore[no-any-return]


def residual_stage(channels: int, width: int, blocks: int, stride: int) -> torch.nn.Sequential:
    """`blocks` blocks, of which the first changes size and channels."""
    return torch.nn.Sequential(
        ResidualBlock(channels, width, stride), *(ResidualBlock(width, width) for _ in range(blocks - 1))
    )
