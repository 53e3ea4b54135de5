r"""Normalizations of images [batch, channels, height, width].

(x - mean) / sqrt(variance + eps) * gain + bias, with a gain and a bias for every channel, mean and variance of

ImageNorm    over channels and pixels of one image: group normalization of one group (arXiv:1803.08494)
PixelNorm    over the channels of every pixel: layer normalization of a token (arXiv:1607.06450)
"""

from __future__ import annotations

import torch


class ImageNorm(torch.nn.GroupNorm):
    """Every image alike, whatever its size."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__(1, width, eps)


class PixelNorm(torch.nn.Module):
    """Every pixel alike, whatever is beside it."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(width))
        self.bias = torch.nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        # Turned, because the operator that runtimes have normalizes the last dimension only.
        x = x.permute(0, 2, 3, 1)
        x = torch.nn.functional.layer_norm(x, self.gain.shape, self.gain, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
