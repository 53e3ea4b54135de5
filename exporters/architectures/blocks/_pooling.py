"""Pooling: as a mixer of neighbouring pixels without parameters, and as the end of a classifier."""

from __future__ import annotations

import torch


class AverageMixer(torch.nn.Module):
    """Every pixel's mean with its neighbours within `size` x `size`, less the pixel itself.

    At the border the mean is over the pixels that there are. A residual connection around it adds the pixel again,
    so that a block is an average: MetaFormer, arXiv:2111.11418, equation 4.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pool = torch.nn.AvgPool2d(size, 1, size // 2, count_include_pad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.pool(x) - x  # type: ignore[no-any-return]


class PooledClassifier(torch.nn.Module):
    """Scores of classes from the mean over all pixels, normalized before or after it, or not."""

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        before: torch.nn.Module | None = None,
        after: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.before = before or torch.nn.Identity()
        self.after = after or torch.nn.Identity()
        self.classify = torch.nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, height, width] to [batch, classes]."""
        # Kept as an image of one pixel, the mean stays in the layout of images, where accelerators compute it.
        pooled = self.before(x).mean((2, 3), keepdim=True).squeeze(3).squeeze(2)
        return self.classify(self.after(pooled))  # type: ignore[no-any-return]
