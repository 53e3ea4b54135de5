"""SpaRTAN: blocks of a spatial mixer with near and far kernels, and of a channel mixer with waves."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._convolution import ConvNorm, SqueezeExcite
from edgepack.exporters.architectures.blocks._image_norm import ImageNorm
from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._statistics import give_biases, give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.spartan import SpaRTAN

_EPS = 1e-6
gelu = torch.nn.functional.gelu


class SpatialMixer(torch.nn.Module):
    """Half the channels, sharpened against their mean, through a near and a far kernel side by side.

    Near: 3 x 3. Far: two of 3 x 3 with dilation 2, which reach 9 x 9. Every half is weighed channel by channel.
    """

    def __init__(self, width: int, *, depthwise: bool) -> None:
        super().__init__()
        half = width // 2
        groups = half if depthwise else 1
        self.reduce = torch.nn.Conv2d(width, half, 1)
        self.sharpen = torch.nn.Parameter(torch.full((half,), 0.5))
        self.near = ConvNorm(half, half, 3, groups=groups, activation=gelu, eps=_EPS)
        self.far_first = torch.nn.Conv2d(half, half, 3, padding=2, dilation=2, groups=groups, bias=False)
        self.far = ConvNorm(half, half, 3, dilation=2, groups=groups, activation=gelu, eps=_EPS)
        self.near_weigh = SqueezeExcite(half, half // 4)
        self.far_weigh = SqueezeExcite(half, half // 4)
        self.join = torch.nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x = self.reduce(x)
        x = x + self.sharpen[:, None, None] * (x - x.mean((2, 3), keepdim=True))
        near, far = self.near_weigh(self.near(x)), self.far_weigh(self.far(self.far_first(x)))
        return self.join(torch.cat([near, far], 1))  # type: ignore[no-any-return]


class ChannelMixer(torch.nn.Module):
    """Waves: amplitude times phase of every channel, plus those of the pixel's strongest one, then turned.

    Turned means multiplied by a learned complex number, two channels being the parts of one. All real parts come
    first here, then all imaginary ones, so that the product is four products of images and no layout changes.
    """

    channels: torch.Tensor

    def __init__(self, width: int, expansion: int, *, depthwise: bool) -> None:
        super().__init__()
        wide = expansion * width
        self.width = width
        self.phase = torch.nn.Conv2d(width, wide, 1)
        self.amplitude = torch.nn.Conv2d(width, wide, 1)
        # A complex number of size 1 for every pair.
        self.turn = torch.nn.Parameter(
            torch.stack([torch.full((wide // 2,), 0.8), torch.full((wide // 2,), 0.6)])
        )
        # The pair is a group of its own where the kernels are not depthwise: a kernel for the part, one for its mate.
        self.own = torch.nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.mate = None if depthwise else torch.nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.norm = torch.nn.BatchNorm2d(wide, _EPS)
        self.weigh = SqueezeExcite(wide, width // 4)
        self.join = torch.nn.Conv2d(wide, width, 1)
        order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
        self.register_buffer("channels", order[:, None, None], persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        strongest = (x.argmax(1, keepdim=True) == self.channels).to(x.dtype)
        phase, amplitude = gelu(self.phase(x)), self.amplitude(x)
        wave = amplitude * phase + self._of(amplitude, strongest) * self._of(phase, strongest)
        real, imaginary = wave.chunk(2, 1)
        cos, sin = self.turn[0][:, None, None], self.turn[1][:, None, None]
        real, imaginary = real * cos - imaginary * sin, real * sin + imaginary * cos
        mixed = self.norm(self.own(torch.cat([real, imaginary], 1)))
        if self.mate is not None:
            # norm(own + mate) with learned statistics: each term by itself, so that both become weights at export.
            gain = self.norm.weight * torch.rsqrt(self._variance() + self.norm.eps)
            weight = self.mate.weight * gain[:, None, None, None]
            swapped = torch.cat([imaginary, real], 1)
            mixed = mixed + torch.nn.functional.conv2d(swapped, weight, padding=1, groups=weight.shape[0])
        return self.join(self.weigh(gelu(mixed)))  # type: ignore[no-any-return]

    def _variance(self) -> torch.Tensor:
        assert self.norm.running_var is not None  # noqa: S101 - tells type checkers
        return self.norm.running_var

    def _of(self, x: torch.Tensor, strongest: torch.Tensor) -> torch.Tensor:
        """The value that every pixel has in the channel of the same number as its strongest one."""
        real, imaginary = x.chunk(2, 1)
        half = self.width // 2
        first = torch.cat([real[:, :half], imaginary[:, :half]], 1)
        return (first * strongest).sum(1, keepdim=True)


class SpaRTANBlock(torch.nn.Module):
    """x + s_1 spatial(norm x), then x + s_2 channels(norm x); s are learned scales of the channels."""

    def __init__(self, width: int, expansion: int, *, late: bool) -> None:
        super().__init__()
        self.spatial_norm = ImageNorm(width, _EPS)
        self.spatial = SpatialMixer(width, depthwise=late)
        self.spatial_scale = torch.nn.Parameter(torch.ones(width))
        self.channel_norm = ImageNorm(width, _EPS)
        self.channel = ChannelMixer(width, expansion, depthwise=not late)
        self.channel_scale = torch.nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x = x + self.spatial_scale[:, None, None] * self.spatial(self.spatial_norm(x))
        return x + self.channel_scale[:, None, None] * self.channel(self.channel_norm(x))  # type: ignore[no-any-return]


class SpaRTANNet(torch.nn.Module):
    """A stem that shrinks the image by 4, stages, and a convolution of 2 x 2 between them that halves it."""

    def __init__(self, config: SpaRTAN) -> None:
        super().__init__()
        widths = config.widths
        first = widths[0]
        self.stem = torch.nn.Sequential(
            ConvNorm(3, first // 2, 3, stride=2, activation=gelu, eps=_EPS),
            ConvNorm(first // 2, first, 3, stride=2, activation=gelu, eps=_EPS),
        )
        self.shrink = torch.nn.ModuleList(
            ConvNorm(a, b, 2, stride=2, activation=torch.nn.functional.silu, eps=_EPS)
            for a, b in itertools.pairwise(widths)
        )
        middle = len(widths) // 2
        self.stages = torch.nn.ModuleList(
            torch.nn.Sequential(*(SpaRTANBlock(width, expansion, late=stage >= middle) for _ in range(depth)))
            for stage, (width, expansion, depth) in enumerate(
                zip(widths, config.expansions, config.depths, strict=True)
            )
        )
        self.head = PooledClassifier(widths[-1], config.classes)
        initialize(self, config.seed)
        give_statistics(self, config.seed)
        give_biases(self, config.seed)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, height, width]."""
        x = self.stages[0](self.stem(pixels))
        for shrink, stage in zip(self.shrink, self.stages[1:], strict=True):
            x = stage(shrink(x))
        return self.head(x)  # type: ignore[no-any-return]
