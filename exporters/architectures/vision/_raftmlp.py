"""RaftMLP: tokens mixed along columns and along rows of a few channels at a time, without attention."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._convolution import ChannelMLP
from edgepack.exporters.architectures.blocks._image_norm import PixelNorm
from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._statistics import give_biases
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.raftmlp import RaftMLP

VERTICAL, HORIZONTAL = 2, 3
_EPS = 1e-5


class CrossScaleEmbed(torch.nn.Module):
    """Patches of several sizes around the same place, embedded together: the sum of strided convolutions.

    The stride is the smallest size. Only the first convolution has a bias: one would do for all.
    """

    def __init__(self, channels: int, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        stride = min(sizes)
        self.scales = torch.nn.ModuleList(
            torch.nn.Conv2d(channels, width, size, stride, (size - stride) // 2, bias=i == 0)
            for i, size in enumerate(sizes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, width, height / stride, width / stride]."""
        total: torch.Tensor = functools.reduce(operator.add, (scale(x) for scale in self.scales))
        return total


class RaftMixer(torch.nn.Module):
    """An MLP over one column (or row) of `raft` channels at once, the same one for all columns and channel groups.

    Channel g + i * (width / raft), i < raft, belongs to group g. With the group's channels side by side, a column of
    `length` tokens has raft * length numbers; they are the channels of a 1 x 1 convolution.
    """

    def __init__(self, length: int, raft: int, expansion: int, axis: int) -> None:
        super().__init__()
        self.raft, self.axis = raft, axis
        # The column (or row) becomes the channels of an image whose pixels are groups and rows (or columns).
        self.turn = (0, 2, 1, 3) if axis == VERTICAL else (0, 3, 1, 2)
        self.back = (0, 2, 1, 3) if axis == VERTICAL else (0, 2, 3, 1)
        self.mlp = ChannelMLP(raft * length, expansion * raft * length)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, height, width of the image] in and out."""
        x = torch.cat(x.chunk(self.raft, 1), self.axis)
        x = self.mlp(x.permute(self.turn)).permute(self.back)
        return torch.cat(x.chunk(self.raft, self.axis), 1)

    def resize(self, length: int) -> None:
        """Mix columns of another length: the weights, as functions of the place in the column, interpolated.

        Bicubic, as the paper has it. What comes in is summed over the column, so that those weights shrink as it
        grows; the hidden units, which have no place, stay as they are.
        """
        up, down = self.mlp.up, self.mlp.down
        old = up.in_channels // self.raft
        with torch.no_grad():
            weight = _resized(up.weight[:, :, 0, 0], self.raft, length) * (old / length)
            back = _resized(down.weight[:, :, 0, 0].T, self.raft, length).T
            bias = None if down.bias is None else _resized(down.bias[None], self.raft, length)[0]
        hidden, width = up.out_channels, self.raft * length
        self.mlp = ChannelMLP(width, hidden)
        with torch.no_grad():
            self.mlp.up.weight.copy_(weight[:, :, None, None])
            self.mlp.down.weight.copy_(back[:, :, None, None])
            if up.bias is not None and self.mlp.up.bias is not None:
                self.mlp.up.bias.copy_(up.bias)
            if bias is not None and self.mlp.down.bias is not None:
                self.mlp.down.bias.copy_(bias)


class RaftBlock(torch.nn.Module):
    """x + vertical(norm x), x + horizontal(norm x), x + mlp(norm x), one after the other."""

    def __init__(self, width: int, side: int, config: RaftMLP) -> None:
        super().__init__()
        mixers = [
            RaftMixer(side, config.raft, config.token_expansion, axis) for axis in (VERTICAL, HORIZONTAL)
        ]
        self.norms = torch.nn.ModuleList(PixelNorm(width, _EPS) for _ in range(3))
        self.mixers = torch.nn.ModuleList([*mixers, ChannelMLP(width, config.channel_expansion * width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, side, side] in and out."""
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x))
        return x


class RaftMLPNet(torch.nn.Module):
    """Levels of blocks, each after an embedding that shrinks the image."""

    def __init__(self, config: RaftMLP) -> None:
        super().__init__()
        self.config = config
        channels = (3, *config.widths)
        sides = config.sides(config.trained or config.image)
        self.pyramid = Pyramid(
            [
                CrossScaleEmbed(a, b, sizes)
                for (a, b), sizes in zip(itertools.pairwise(channels), config.patches, strict=True)
            ],
            [
                [RaftBlock(width, side, config) for _ in range(depth)]
                for width, side, depth in zip(config.widths, sides, config.depths, strict=True)
            ],
        )
        self.head = PooledClassifier(
            config.widths[-1], config.classes, before=PixelNorm(config.widths[-1], _EPS)
        )
        initialize(self, config.seed)
        give_biases(self, config.seed)
        if config.trained:
            self.resize(config.image)

    def resize(self, image: int) -> None:
        """Take images of another size from now on."""
        for stage, side in zip(self.pyramid.stages, self.config.sides(image), strict=True):
            for mixer in stage.modules():
                if isinstance(mixer, RaftMixer):
                    mixer.resize(side)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, image, image]."""
        return self.head(self.pyramid(pixels))  # type: ignore[no-any-return]


def _resized(rows: torch.Tensor, raft: int, length: int) -> torch.Tensor:
    """Every row [raft * old] as `raft` functions of the place, bicubic at `length` places: [rows, raft * length]."""
    grid = rows.reshape(rows.shape[0], raft, -1, 1)
    grid = torch.nn.functional.interpolate(grid, (length, 1), mode="bicubic", align_corners=False)
    return grid.reshape(rows.shape[0], raft * length)
