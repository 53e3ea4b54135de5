"""FreeNet: an encoder of four stages with spectral attention, and a decoder that adds them from coarse to fine."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._convolution import SqueezeExcite
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.freenet import HyperspectralSegmenter


def _normed(channels: int, width: int, groups: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, width, 3, 1, 1), torch.nn.GroupNorm(groups, width), torch.nn.ReLU()
    )


def _halved(channels: int, width: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Conv2d(channels, width, 3, 2, 1), torch.nn.ReLU())


class Network(torch.nn.Module):
    """From a whole image [batch, bands, height, width] to the probabilities of classes at every pixel."""

    def __init__(self, config: HyperspectralSegmenter) -> None:
        super().__init__()
        widths, r, inner = config.widths, config.reduction, config.inner
        enter = [_normed(config.bands, widths[0], r)]
        enter += [_halved(before, width) for before, width in itertools.pairwise(widths)]
        # Spectral attention: a weight for every channel from the mean of the whole image.
        stages = [[SqueezeExcite(width, width // r), _normed(width, width, r)] for width in widths]
        self.encoder = Pyramid(enter, stages)
        self.lateral = torch.nn.ModuleList(torch.nn.Conv2d(width, inner, 1) for width in widths)
        self.refine = torch.nn.ModuleList(torch.nn.Conv2d(inner, inner, 3, 1, 1) for _ in widths)
        self.classify = torch.nn.Conv2d(inner, config.classes, 1)
        initialize(self, config.seed)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities [batch, classes, height, width]."""
        levels = self.encoder.levels(image)
        sides = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        x: torch.Tensor | None = None
        for side, refine in zip(reversed(sides), reversed(self.refine), strict=True):
            # To the size of the finer level, and not twice its own: the image may have any height and width.
            x = side if x is None else side + torch.nn.functional.interpolate(x, side.shape[-2:])
            x = refine(x)
        return self.classify(x).softmax(1)  # type: ignore[no-any-return]
