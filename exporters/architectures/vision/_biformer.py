"""BiFormer: a pyramid of four stages, three with bi-level routing attention and the last with full attention."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import SelfAttention, attend
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._routing_attention import RoutingAttention
from edgepack.exporters.architectures.blocks._statistics import give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.biformer import RoutedClassifier

_EPS = 1e-6


class FullAttention(SelfAttention):
    """Over all pixels, and a depthwise convolution of what it reads beside it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.out = torch.nn.Linear(width, width)
        self.local = torch.nn.Conv2d(width, width, 5, 1, 2, groups=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override] # of pixels, not of a sequence
        """[batch, height, width, channels] in and out."""
        near = self.local(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        mixed = attend(*self._projected(x.flatten(1, 2), None))
        return self.out(mixed.reshape(x.shape) + near)  # type: ignore[no-any-return]


class Block(torch.nn.Module):
    """x + depthwise x, then x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, width: int, attention: torch.nn.Module, ratio: int) -> None:
        super().__init__()
        self.place = torch.nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.attention_norm = torch.nn.LayerNorm(width, _EPS)
        self.attention = attention
        self.mlp_norm = torch.nn.LayerNorm(width, _EPS)
        self.mlp = MLP(width, ratio * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] in and out."""
        x = (x + self.place(x)).permute(0, 2, 3, 1)
        x = x + self.attention(self.attention_norm(x))
        x = x + self.mlp(self.mlp_norm(x))
        return x.permute(0, 3, 1, 2)


def _halved(channels: int, width: int) -> list[torch.nn.Module]:
    """A convolution with a bias that halves the image, normalized."""
    return [torch.nn.Conv2d(channels, width, 3, 2, 1), torch.nn.BatchNorm2d(width)]


class Network(torch.nn.Module):
    """From images [batch, 3, size, size] to scores of classes [batch, classes]."""

    def __init__(self, config: RoutedClassifier) -> None:
        super().__init__()
        widths = config.widths
        stem = [*_halved(3, widths[0] // 2), torch.nn.GELU(), *_halved(widths[0] // 2, widths[0])]
        shrink = [stem, *(_halved(a, b) for a, b in itertools.pairwise(widths))]
        stages = [
            [Block(width, _attention(config, stage), config.ratio) for _ in range(depth)]
            for stage, (width, depth) in enumerate(zip(widths, config.depths, strict=True))
        ]
        self.pyramid = Pyramid([torch.nn.Sequential(*modules) for modules in shrink], stages)
        self.head = PooledClassifier(widths[-1], config.classes, before=torch.nn.BatchNorm2d(widths[-1]))
        initialize(self, config.seed)
        give_statistics(self, config.seed)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores of classes."""
        return self.head(self.pyramid(image))  # type: ignore[no-any-return]


def _attention(config: RoutedClassifier, stage: int) -> torch.nn.Module:
    width = config.widths[stage]
    if stage == len(config.routed):
        return FullAttention(width, config.last_heads)
    return RoutingAttention(width, width // config.head_width, config.across, config.routed[stage])
