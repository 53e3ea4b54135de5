"""ParaTransCNN: two encoders beside one another, whose levels a decoder takes together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import SelfAttention
from edgepack.exporters.architectures.blocks._convolution import ConvNorm, SqueezeExcite
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._patches import image, tokens
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._residual import residual_stage
from edgepack.exporters.architectures.blocks._statistics import give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.paratranscnn import ParallelSegmenter


class TokenStage(torch.nn.Module):
    """Layers of a transformer over all pixels of an image, without positions."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(_layer(width, heads) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, rows, columns] in and out."""
        y = tokens(x)
        for layer in self.layers:
            y = layer(y)
        return image(y, x.shape[2], x.shape[3])


def _layer(width: int, heads: int) -> Layer:
    attention = SelfAttention(width, heads)
    attention.out = torch.nn.Linear(width, width)
    return Layer(width, attention, MLP(width, 2 * width), torch.nn.LayerNorm)


class ChannelAttention(SqueezeExcite):
    """Without biases."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__(width, squeezed)
        self.squeeze = torch.nn.Conv2d(width, squeezed, 1, bias=False)
        self.excite = torch.nn.Conv2d(squeezed, width, 1, bias=False)


def _twice(width: int) -> torch.nn.Sequential:
    """Two convolutions with biases, each normalized."""
    steps = [
        (torch.nn.Conv2d(width, width, 3, 1, 1), torch.nn.BatchNorm2d(width), torch.nn.ReLU())
        for _ in range(2)
    ]
    return torch.nn.Sequential(*(module for step in steps for module in step))


class Network(torch.nn.Module):
    """From images [batch, 3, height, width], multiples of 16, to scores of classes at every pixel."""

    def __init__(self, config: ParallelSegmenter) -> None:
        super().__init__()
        cnn, width = config.widths, config.token_width
        self.enter = ConvNorm(3, cnn[0], 7, stride=2, activation=torch.relu)
        self.first = residual_stage(cnn[0], cnn[0], config.blocks[0], 1)
        self.convolutions = torch.nn.ModuleList(
            residual_stage(cnn[i], cnn[i + 1], config.blocks[i + 1], 2) for i in range(3)
        )
        widths = [width, 2 * width, 4 * width]
        patches = [torch.nn.Conv2d(3, width, 4, 4)]
        patches += [torch.nn.Conv2d(w, 2 * w, 2, 2) for w in widths[:2]]
        self.transformers = Pyramid(
            patches, [[TokenStage(w, config.heads, d)] for w, d in zip(widths, config.depths, strict=True)]
        )
        joined = [w + c for w, c in zip(widths, cnn[1:], strict=True)]
        self.merge = torch.nn.ModuleList(ChannelAttention(j, j // config.squeeze) for j in joined)
        self.refine = torch.nn.ModuleList(
            [_twice(joined[0] + joined[1]), _twice(2 * joined[1]), _twice(joined[2])]
        )
        self.grow = torch.nn.ModuleList(
            [
                torch.nn.ConvTranspose2d(joined[0] + joined[1], width, 4, 4),
                torch.nn.ConvTranspose2d(2 * joined[1], joined[1], 2, 2),
                torch.nn.ConvTranspose2d(joined[2], joined[1], 2, 2),
            ]
        )
        self.classify = torch.nn.Conv2d(width, config.classes, 1)
        initialize(self, config.seed)
        give_statistics(self, config.seed)

    def encoded(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """What the transformers and what the convolutions make of an image, at 1/4, 1/8 and 1/16 of its size."""
        y = self.first(self.enter(x))
        local = []
        for stage in self.convolutions:
            y = stage(y)
            local.append(y)
        return self.transformers.levels(x), local

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes, height, width]."""
        far, near = self.encoded(x)
        y: torch.Tensor | None = None
        for level in (2, 1, 0):
            # One weight for every channel of both encoders, then the coarser level beside them.
            side = self.merge[level](torch.cat([far[level], near[level]], 1))
            y = side if y is None else torch.cat([side, y], 1)
            y = self.grow[level](self.refine[level](y))
        return self.classify(y)  # type: ignore[no-any-return]
