"""PoolFormer: the pyramid of averaging blocks, and the transformer that it is compared with."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._convolution import ChannelMLP
from edgepack.exporters.architectures.blocks._image_norm import ImageNorm
from edgepack.exporters.architectures.blocks._patches import PatchEmbed
from edgepack.exporters.architectures.blocks._pooling import AverageMixer, PooledClassifier
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._statistics import give_biases
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.vision._vision_transformer import PatchAttention, VisionTransformer

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.poolformer import DeiT, PoolFormer


class MetaFormerBlock(torch.nn.Module):
    """x + s_1 mixer(norm x), then x + s_2 mlp(norm x), on images; s are learned scales of the channels."""

    def __init__(self, width: int, hidden: int, mixer: torch.nn.Module) -> None:
        super().__init__()
        self.mixer_norm = ImageNorm(width)
        self.mixer = mixer
        self.mixer_scale = torch.nn.Parameter(torch.ones(width))
        self.mlp_norm = ImageNorm(width)
        self.mlp = ChannelMLP(width, hidden)
        self.mlp_scale = torch.nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, height, width] in and out."""
        x = x + self.mixer_scale[:, None, None] * self.mixer(self.mixer_norm(x))
        return x + self.mlp_scale[:, None, None] * self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class PoolFormerNet(torch.nn.Module):
    """Four stages, each after a convolution that shrinks the image: by 4, then by 2."""

    def __init__(self, config: PoolFormer) -> None:
        super().__init__()
        widths = config.widths
        shrink = [PatchEmbed(3, widths[0], 7, 4, 2)]
        shrink += [PatchEmbed(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths)]
        self.pyramid = Pyramid(
            shrink,
            [
                [MetaFormerBlock(width, 4 * width, AverageMixer(config.pool)) for _ in range(depth)]
                for width, depth in zip(widths, config.depths, strict=True)
            ],
        )
        self.head = PooledClassifier(widths[-1], config.classes, before=ImageNorm(widths[-1]))
        initialize(self, config.seed)
        give_biases(self, config.seed)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, height, width]."""
        return self.head(self.pyramid(pixels))  # type: ignore[no-any-return]


def network(config: PoolFormer | DeiT) -> torch.nn.Module:
    """The network of a configuration."""
    from edgepack.exporters.architectures.vision.poolformer import PoolFormer

    if isinstance(config, PoolFormer):
        return PoolFormerNet(config)
    mixers = [PatchAttention(config.width, config.heads) for _ in range(config.depth)]
    return VisionTransformer(
        config.image, config.patch, config.width, mixers, config.classes, token=True, seed=config.seed
    )
