"""What a layer multiplies: the sizes of a linear layer or of a convolution, and its product of +1 and -1."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad

Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Geometry:
    """Sizes of a layer.

    Attributes:
        outputs: N, output features or channels.
        inputs: K, input features, or all input channels of a convolution.
        kernel: Height and width of a convolution's kernel; None for a linear layer.
        strides: Vertical, horizontal.
        pads: Top, left, bottom, right. What is padded adds nothing to the sums.
        groups: Of a convolution.
        dilations: Vertical, horizontal.
        output_size: Height and width that a convolution gives, where they are known and fixed.
    """

    outputs: int
    inputs: int
    kernel: tuple[int, int] | None = None
    strides: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    groups: int = 1
    dilations: tuple[int, int] = (1, 1)
    output_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d) -> Geometry:
        """Of a float layer."""
        if isinstance(layer, nn.Linear):
            return cls(layer.out_features, layer.in_features)
        kernel = (layer.kernel_size[0], layer.kernel_size[1])
        return cls(
            *(layer.out_channels, layer.in_channels, kernel, (layer.stride[0], layer.stride[1])),
            *(_pads(layer), layer.groups, (layer.dilation[0], layer.dilation[1])),
        )

    @property
    def terms(self) -> int:
        """Products in one sum: K, or channels of a group times kernel."""
        if self.kernel is None:
            return self.inputs
        return self.inputs // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of what one output of a convolution sees."""
        assert self.kernel is not None  # noqa: S101 - of a convolution only
        height, width = (d * (size - 1) + 1 for d, size in zip(self.dilations, self.kernel, strict=True))
        return height, width

    def per_channel(self, values: Tensor) -> Tensor:
        """One value a feature or channel, in a shape that multiplies activations."""
        return values if self.kernel is None else values[:, None, None]

    def padded(self, values: Tensor, value: float) -> Tensor:
        """A convolution's input with its borders."""
        top, left, bottom, right = self.pads
        return pad(values, (left, right, top, bottom), value=value) if any(self.pads) else values

    def unpadded(self) -> Geometry:
        """The same layer on inputs that have their borders already."""
        return replace(self, pads=(0, 0, 0, 0))

    def product(self, activations: Tensor, weights: Tensor) -> Tensor:
        """The sums; with factors of +1 and -1 they are whole numbers, and exact below 2^24 terms."""
        if self.kernel is None:
            return linear(activations, weights)
        top, left, bottom, right = self.pads
        if (top, left) == (bottom, right):
            return conv2d(activations, weights, None, self.strides, (top, left), self.dilations, self.groups)
        padded = self.padded(activations, 0.0)
        return conv2d(padded, weights, None, self.strides, 0, self.dilations, self.groups)


def _pads(layer: nn.Conv2d) -> Pads:
    """Top, left, bottom, right; "same" puts an odd one last, as torch does."""
    if layer.padding == "valid":
        return (0, 0, 0, 0)
    if layer.padding == "same":
        height, width = (d * (n - 1) for d, n in zip(layer.dilation, layer.kernel_size, strict=True))
        return (height // 2, width // 2, height - height // 2, width - width // 2)
    vertical, horizontal = (int(size) for size in layer.padding)
    return (vertical, horizontal, vertical, horizontal)
