"""UniRepLKNet as it is trained, and the merging that turns it into what ships."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._convolution import SqueezeExcite
from edgepack.exporters.architectures.blocks._image_norm import PixelNorm
from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._reparameterization import DilatedBranches, folded, with_weights
from edgepack.exporters.architectures.blocks._statistics import give_biases, give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.unireplknet import UniRepLKNet

_LARGE = 7  # the smallest kernel that has branches beside it


class ResponseNorm(torch.nn.Module):
    """(1 + gain n) x + bias, n a channel's norm over the image beside the mean norm of all channels.

    Global response normalization: S. Woo et al., ConvNeXt V2, arXiv:2301.00808, algorithm 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.full((width,), 0.5))
        self.bias: torch.nn.Parameter | None = torch.nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        norms = x.square().sum((2, 3), keepdim=True).sqrt()
        relative = norms / (norms.mean(1, keepdim=True) + 1e-6)
        x = (self.gain[:, None, None] * relative + 1) * x
        return x if self.bias is None else x + self.bias[:, None, None]


class LargeKernelBlock(torch.nn.Module):
    """x + s W_2 response(gelu(W_1 excite(K * x))), K depthwise; normalized after K and after W_2."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.mixer: torch.nn.Module = (
            DilatedBranches(width, kernel)
            if kernel >= _LARGE
            else torch.nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        )
        self.mixer_norm: torch.nn.Module = torch.nn.BatchNorm2d(width)
        self.excite = SqueezeExcite(width, width // 4)
        self.up = torch.nn.Conv2d(width, 4 * width, 1)
        self.response = ResponseNorm(4 * width)
        self.down = torch.nn.Conv2d(4 * width, width, 1, bias=False)
        self.down_norm: torch.nn.Module = torch.nn.BatchNorm2d(width)
        self.scale: torch.nn.Parameter | None = torch.nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, height, width of the image] in and out."""
        y = self.excite(self.mixer_norm(self.mixer(x)))
        y = self.response(torch.nn.functional.gelu(self.up(y)))
        y = self.down_norm(self.down(y))
        return x + y if self.scale is None else x + self.scale[:, None, None] * y  # type: ignore[no-any-return]

    def merge(self) -> None:
        """Make one convolution of K's branches and norms, and one of W_2, its norm, the bias before it and s."""
        with torch.no_grad():
            mixer = self.mixer.merged() if isinstance(self.mixer, DilatedBranches) else self.mixer
            assert isinstance(mixer, torch.nn.Conv2d)  # noqa: S101 - tells type checkers
            assert isinstance(self.mixer_norm, torch.nn.BatchNorm2d)  # noqa: S101
            assert isinstance(self.down_norm, torch.nn.BatchNorm2d)  # noqa: S101
            assert self.response.bias is not None  # noqa: S101
            assert self.scale is not None  # noqa: S101
            self.mixer = with_weights(mixer, *folded(mixer, self.mixer_norm))
            before = self.down.weight[:, :, 0, 0] @ self.response.bias
            down = with_weights(self.down, self.down.weight, before)
            weight, bias = folded(down, self.down_norm)
            self.down = with_weights(down, weight * self.scale[:, None, None, None], bias * self.scale)
        self.mixer_norm = self.down_norm = torch.nn.Identity()
        self.response.bias = self.scale = None


class Shrink(torch.nn.Sequential):
    """A convolution of 3 x 3 that halves the image, and a norm."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(torch.nn.Conv2d(channels, width, 3, 2, 1), PixelNorm(width))


class UniRepLKNetwork(torch.nn.Module):
    """Four stages on an image: a picture, a spectrogram, or a series unfolded into one."""

    def __init__(self, config: UniRepLKNet) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        channels = 3 if config.kind == "image" else 1
        stem = torch.nn.Sequential(
            Shrink(channels, widths[0] // 2), torch.nn.GELU(), Shrink(widths[0] // 2, widths[0])
        )
        self.pyramid = Pyramid(
            [stem, *(Shrink(a, b) for a, b in itertools.pairwise(widths))],
            [
                [LargeKernelBlock(width, kernels[i % len(kernels)]) for i in range(depth)]
                for width, kernels, depth in zip(widths, config.kernels, config.depths, strict=True)
            ],
        )
        self.unfold = torch.nn.Linear(config.variables, config.sizes[1]) if config.kind == "series" else None
        outputs = config.horizon * config.variables if config.kind == "series" else config.classes
        self.head = PooledClassifier(widths[-1], outputs, after=torch.nn.LayerNorm(widths[-1], 1e-6))
        initialize(self, config.seed)
        give_statistics(self, config.seed)
        give_biases(self, config.seed)

    def merged(self) -> UniRepLKNetwork:
        """The network that ships, with the same outputs."""
        net = copy.deepcopy(self)
        for block in net.modules():
            if isinstance(block, LargeKernelBlock):
                block.merge()
        return net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of images [batch, 3, height, width] or spectrograms [batch, frames, bands], or a forecast.

        A forecast is [batch, horizon, variables], of a series [batch, length, variables].
        """
        if self.config.kind == "image":
            return self.head(self.pyramid(x))  # type: ignore[no-any-return]
        if self.unfold is None:
            return self.head(self.pyramid(x.transpose(1, 2).unsqueeze(1)))  # type: ignore[no-any-return]
        forecast = self.head(self.pyramid(self.unfold(x).unsqueeze(1)))
        return forecast.reshape(-1, self.config.horizon, self.config.variables)  # type: ignore[no-any-return]
