r"""The two-dimensional Haar wavelet transform of one level, on images, and its inverse.

Of every 2 x 2 pixels a b / c d of a channel,

    low         (a + b + c + d) / 2
    vertical    (a + b - c - d) / 2
    horizontal  (a - b + c - d) / 2
    diagonal    (a - b - c + d) / 2

which is orthonormal: the inverse is the transpose, nothing is lost, and the sums of pixels that are whole numbers
are exact in float32. There is nothing to learn. A. Haar, Math. Annalen 69 (1910), 331-371.
"""

from __future__ import annotations

import torch

_SIGNS = (((1, 1), (1, 1)), ((1, 1), (-1, -1)), ((1, -1), (1, -1)), ((1, -1), (-1, 1)))


class HaarTransform(torch.nn.Module):
    """Of images of `channels`; four depthwise convolutions, one for every band, with constant kernels."""

    kernels: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernels = torch.tensor(_SIGNS, dtype=torch.float32) / 2
        self.register_buffer("kernels", kernels[:, None, None].repeat(1, channels, 1, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The low band [batch, channels, h / 2, w / 2], and the other three [batch, 3 * channels, h / 2, w / 2]."""
        low, *high = (
            torch.nn.functional.conv2d(x, kernel, stride=2, groups=x.shape[1]) for kernel in self.kernels
        )
        return low, torch.cat(high, 1)

    def inverse(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """The image again."""
        bands = torch.stack((low, *high.chunk(3, 1)))
        parts = [
            torch.nn.functional.conv_transpose2d(band, kernel, stride=2, groups=low.shape[1])
            for band, kernel in zip(bands, self.kernels, strict=True)
        ]
        return parts[0] + parts[1] + parts[2] + parts[3]
