"""Residual networks and transformers whose spatial layers are pooled instead of learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._convolution import ConvNorm
from edgepack.exporters.architectures.blocks._patches import image, tokens
from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._statistics import give_biases, give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.vision._vision_transformer import PatchAttention, VisionTransformer

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.pflayer import PooledResNet, PooledTransformer, Spatial

_EXPANSION = 4


def spatial(kind: Spatial, width: int, stride: int) -> torch.nn.Module:
    """What mixes 3 x 3 pixels within a bottleneck."""
    relu = torch.nn.functional.relu
    if kind == "hybrid":
        if stride == 1:
            return torch.nn.MaxPool2d(3, 1, 1)
        return torch.nn.Sequential(torch.nn.AvgPool2d(2), ConvNorm(width, width, 3, activation=relu))
    if kind == "max":
        return torch.nn.MaxPool2d(3, stride, 1)
    return ConvNorm(
        width, width, 3, stride=stride, groups=width if kind == "depthwise" else 1, activation=relu
    )


class Bottleneck(torch.nn.Module):
    """relu(x + expand(spatial(reduce x))), x projected where its shape changes."""

    def __init__(self, channels: int, width: int, stride: int, kind: Spatial) -> None:
        super().__init__()
        wide = _EXPANSION * width
        self.reduce = ConvNorm(channels, width, 1, activation=torch.nn.functional.relu)
        self.spatial = spatial(kind, width, stride)
        self.expand = ConvNorm(width, wide, 1)
        changes = stride > 1 or channels != wide
        self.project = ConvNorm(channels, wide, 1, stride=stride) if changes else torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, 4 * width, height / stride, width / stride]."""
        return torch.relu(self.expand(self.spatial(self.reduce(x))) + self.project(x))


class ResNet(torch.nn.Module):
    """A stem that shrinks the image by 4, and four stages of bottlenecks, all but the first halving it."""

    def __init__(self, config: PooledResNet) -> None:
        super().__init__()
        first = config.widths[0]
        self.stem = torch.nn.Sequential(
            ConvNorm(3, first, 7, stride=2, activation=torch.nn.functional.relu), torch.nn.MaxPool2d(3, 2, 1)
        )
        blocks, channels = [], first
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(Bottleneck(channels, width, stride, config.spatial))
                channels = _EXPANSION * width
        self.blocks = torch.nn.Sequential(*blocks)
        self.head = PooledClassifier(channels, config.classes)
        initialize(self, config.seed)
        give_statistics(self, config.seed)
        give_biases(self, config.seed)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, height, width]."""
        return self.head(self.blocks(self.stem(pixels)))  # type: ignore[no-any-return]


class MaxMixer(torch.nn.Module):
    """W_2 gelu(max over 3 x 3 patches of gelu(W_1 x)), three times as wide within."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.up = torch.nn.Linear(width, 3 * width)
        self.pool = torch.nn.MaxPool2d(3, 1, 1)
        self.down = torch.nn.Linear(3 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, side * side, width] in and out."""
        gelu = torch.nn.functional.gelu
        pooled = self.pool(image(gelu(self.up(x)), self.side, self.side))
        return self.down(gelu(tokens(pooled)))  # type: ignore[no-any-return]


def transformer(config: PooledTransformer) -> VisionTransformer:
    """Blocks with attention, every other one with a maximum over neighbours in its place where `pooled`."""
    side = config.image // config.patch
    mixers = [
        MaxMixer(config.width, side)
        if config.pooled and i % 2
        else PatchAttention(config.width, config.heads)
        for i in range(config.depth)
    ]
    return VisionTransformer(
        config.image, config.patch, config.width, mixers, config.classes, token=False, seed=config.seed
    )
