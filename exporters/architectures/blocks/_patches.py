r"""Patch embeddings: from an image to one vector for every patch of it, by a strided convolution.

Patches overlap where the kernel is larger than the stride; a kernel of the stride cuts the image into tiles.
"""

from __future__ import annotations

import torch


class PatchEmbed(torch.nn.Module):
    """`channels` of every patch of `kernel` x `kernel` pixels to `width`, a patch every `stride` pixels."""

    def __init__(
        self, channels: int, width: int, kernel: int, stride: int | None = None, padding: int = 0
    ) -> None:
        super().__init__()
        self.project = torch.nn.Conv2d(channels, width, kernel, stride or kernel, padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, width, rows, columns]."""
        return self.project(x)  # type: ignore[no-any-return]


def tokens(x: torch.Tensor) -> torch.Tensor:
    """[batch, width, rows, columns] as a sequence of patches row by row, [batch, rows * columns, width]."""
    return x.flatten(2).transpose(1, 2)


def image(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Back from `tokens`."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], rows, columns)
