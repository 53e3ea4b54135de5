"""WaveMix: blocks that mix pixels by wavelet transforms of several levels and keep the image's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._statistics import give_biases, give_statistics
from edgepack.exporters.architectures.blocks._wavelet import HaarTransform
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.wavemix import WaveMix


class Level(torch.nn.Sequential):
    """An MLP over the channels of a level's bands, and a transposed convolution to twice the size."""

    def __init__(self, channels: int, config: WaveMix, width: int) -> None:
        hidden = config.expansion * config.width
        super().__init__(
            torch.nn.Conv2d(channels, hidden, 1),
            torch.nn.GELU(),
            torch.nn.Conv2d(hidden, config.width, 1),
            torch.nn.ConvTranspose2d(config.width, width, 4, 2, 1),
            torch.nn.BatchNorm2d(width),
        )


class WaveMixBlock(torch.nn.Module):
    """x + level_1(bands_1, level_2(bands_2, ...)), bands of a quarter of the channels."""

    def __init__(self, config: WaveMix) -> None:
        super().__init__()
        width, last = config.width, config.levels - 1
        self.reduce = torch.nn.Conv2d(width, width // 4, 1)
        self.haar = HaarTransform(width // 4)
        self.levels = torch.nn.ModuleList(
            Level(width if i == last else width + width // 2, config, width // 2 if i else width)
            for i in range(config.levels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, height, width of the image] in and out; sides divide by 2 to the power of the levels."""
        low, bands = self.reduce(x), []
        for _ in self.levels:
            low, high = self.haar(low)
            bands.append([low, high])
        mixed: list[torch.Tensor] = []
        for level, own in zip(reversed(self.levels), reversed(bands), strict=True):
            mixed = [level(torch.cat(own + mixed, 1))]
        return x + mixed[0]


class WaveMixNet(torch.nn.Module):
    """A stem that shrinks the image by 4, blocks, and a classifier or a segmenter."""

    def __init__(self, config: WaveMix) -> None:
        super().__init__()
        width = config.width
        conv = torch.nn.Conv2d
        self.stem = (
            torch.nn.Sequential(conv(3, width // 2, 3, 2, 1), conv(width // 2, width, 3, 2, 1))
            if config.strided
            else torch.nn.Sequential(
                conv(3, width // 4, 3, 1, 1), conv(width // 4, width // 2, 3, 1, 1), conv(width // 2, width, 4, 4),
                torch.nn.GELU(), torch.nn.BatchNorm2d(width),
            )
        )  # fmt: skip
        self.blocks = torch.nn.Sequential(*(WaveMixBlock(config) for _ in range(config.depth)))
        self.head: torch.nn.Module
        if config.segments:
            self.head = torch.nn.Sequential(
                torch.nn.ConvTranspose2d(width, width // 2, 4, 2, 1),
                torch.nn.ConvTranspose2d(width // 2, width // 4, 4, 2, 1),
                conv(width // 4, config.classes, 1),
            )
        else:
            self.head = PooledClassifier(width, config.classes)
        initialize(self, config.seed)
        give_statistics(self, config.seed)
        give_biases(self, config.seed)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, height, width], or of every pixel."""
        return self.head(self.blocks(self.stem(pixels)))  # type: ignore[no-any-return]
