"""Networks whose images shrink from stage to stage, with more channels each time."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Pyramid(torch.nn.Module):
    """Stages one after the other: something that shrinks the image, then blocks that keep its shape."""

    def __init__(
        self, shrink: Sequence[torch.nn.Module], blocks: Sequence[Sequence[torch.nn.Module]]
    ) -> None:
        super().__init__()
        self.shrink = torch.nn.ModuleList(shrink)
        self.stages = torch.nn.ModuleList(torch.nn.Sequential(*stage) for stage in blocks)

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The image after every stage, which is what detectors and segmenters read."""
        found = []
        for shrink, stage in zip(self.shrink, self.stages, strict=True):
            x = stage(shrink(x))
            found.append(x)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image after the last stage."""
        return self.levels(x)[-1]
