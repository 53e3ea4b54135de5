r"""Blocks of convolutional networks, on images [batch, channels, height, width].

    ConvNorm        act(gain * (W * x - mean) / sqrt(variance + eps) + bias), mean and variance learned statistics
    SqueezeExcite   x * sigmoid(W_2 relu(W_1 mean over pixels of x))
    ChannelMLP      W_2 gelu(W_1 x), at every pixel

All products are 4-D convolutions, which is what accelerators and mobile runtimes are built for; a batch
normalization in front of nothing but its convolution becomes that convolution's weights at export.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Activation = Callable[[torch.Tensor], torch.Tensor]


class ConvNorm(torch.nn.Module):
    """Convolution without bias, batch normalization, activation; "same" padding, so that stride 1 keeps the size."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: Activation | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(
            channels, width, kernel, stride, dilation * (kernel - 1) // 2, dilation, groups, bias=False
        )
        self.norm = torch.nn.BatchNorm2d(width, eps)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, width, height / stride, width / stride]."""
        x = self.norm(self.conv(x))
        return x if self.activation is None else self.activation(x)


class SqueezeExcite(torch.nn.Module):
    """Channels weighed by what the whole image has of them (J. Hu et al., arXiv:1709.01507, section 3)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = torch.nn.Conv2d(width, squeezed, 1)
        self.excite = torch.nn.Conv2d(squeezed, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        weights = self.squeeze(x.mean((2, 3), keepdim=True)).relu()
        return x * torch.sigmoid(self.excite(weights))


class ChannelMLP(torch.nn.Module):
    """Two products over the channels of every pixel, `hidden` channels between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = torch.nn.Conv2d(width, hidden, 1)
        self.down = torch.nn.Conv2d(hidden, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.down(torch.nn.functional.gelu(self.up(x)))  # type: ignore[no-any-return]
