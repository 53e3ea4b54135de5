"""The frozen layer: packed bits, alpha, bias and shift, and what a method does beside the operator.

    y = after(scales * operator(x) + bias_after, x)

Where a method has no scales there is no bias after the operator's own. Given to torch.onnx.export, the operator becomes
one node of the domain `edgepack`, version 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._bits import pack
from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._operator import bin_conv, bin_linear, conv_sizes
from edgepack.toolchain.native_operators import DOMAIN, VERSION


class PackedLayer(nn.Module):
    """A binary layer as it ships.

    Args:
        geometry: Sizes.
        signs: The weights, +1 and -1, in the float layer's shape.
        alpha: [N].
        bias: [N].
        shift: [K]; [1] for all; None for a single zero.

    Attributes:
        pads_with: What a padded activation counts as; 0 leaves it to the operator.
        input_scale: As the method's, or None.
        output_scale: [height, width], or None.
        after: As the method's, or None.
        bias_after: [N], added after the scales, or None; the operator's is zero then.
        folded: What was folded into alpha and bias, by name.
    """

    packed: Tensor
    alpha: Tensor
    bias: Tensor
    shift: Tensor
    output_scale: Tensor | None
    bias_after: Tensor | None

    def __init__(
        self, geometry: Geometry, signs: Tensor, alpha: Tensor, bias: Tensor, shift: Tensor | None
    ) -> None:
        super().__init__()
        self.geometry = geometry
        last = signs if geometry.kernel is None else signs.permute(0, 2, 3, 1)
        self.register_buffer("packed", pack(last))
        self.register_buffer("alpha", alpha)
        self.register_buffer("bias", bias)
        self.register_buffer("shift", alpha.new_zeros(1) if shift is None else shift)
        self.register_buffer("output_scale", None)
        self.register_buffer("bias_after", None)
        self.pads_with = 0.0
        self.input_scale: nn.Module | None = None
        self.after: nn.Module | None = None
        self.folded: tuple[str, ...] = ()

    def forward(self, values: Tensor) -> Tensor:
        """Activations to activations, in the shapes of the layer that was replaced."""
        if self.geometry.kernel is not None and values.dim() == 3:  # noqa: PLR2004 - an image without a batch
            image: Tensor = self(values[None])[0]
            return image
        y = self.operator(values)
        if self.input_scale is not None:
            y = y * self.input_scale(values)
        if self.output_scale is not None:
            y = y * self.output_scale
        if self.bias_after is not None:
            y = y + self.geometry.per_channel(self.bias_after)
        if self.after is not None:
            y = self.after(y, values)
        return y

    def scale(self, input_scale: nn.Module | None, output_scale: Tensor | None) -> None:
        """Multiply what the operator gives; the bias moves behind the scales."""
        self.input_scale, self.output_scale = input_scale, output_scale
        if input_scale is not None or output_scale is not None:
            self.bias_after, self.bias = self.bias, torch.zeros_like(self.bias)

    def fold(self, ratio: Tensor, mean: Tensor, target: Tensor) -> None:
        """Fold y -> (y - mean) * ratio + target in, computed in float64; each is [N]."""
        bias = self.bias if self.bias_after is None else self.bias_after
        bias = ((bias.double() - mean) * ratio + target).float()
        self.alpha = (self.alpha.double() * ratio).float()
        if self.bias_after is None:
            self.bias = bias
        else:
            self.bias_after = bias

    def operator(self, values: Tensor) -> Tensor:
        """What the device's kernel computes."""
        geometry = self.geometry
        if self.pads_with:
            values = geometry.padded(values, self.pads_with)
            geometry = geometry.unpadded()
        if torch.onnx.is_in_onnx_export():
            return self._node(values, geometry)
        if geometry.kernel is None:
            y: Tensor = bin_linear(values, self.packed, self.alpha, self.bias, self.shift, geometry.inputs)
        else:
            y = bin_conv(
                *(values, self.packed, self.alpha, self.bias, self.shift, geometry.inputs // geometry.groups),
                *(geometry.strides, geometry.pads, geometry.dilations, geometry.groups),
            )
        return y

    def _node(self, values: Tensor, geometry: Geometry) -> Tensor:
        inputs = [values, self.packed, self.alpha, self.bias, self.shift]
        if geometry.kernel is None:
            return torch.onnx.ops.symbolic(
                f"{DOMAIN}::BinLinear",
                inputs,
                {"K": geometry.inputs},
                dtype=values.dtype,
                shape=[*values.shape[:-1], geometry.outputs],
                version=VERSION,
            )
        size = conv_sizes(values.shape[2:], geometry.extent, geometry.strides, geometry.pads)
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::BinConv",
            inputs,
            {
                "K": geometry.inputs // geometry.groups,
                "strides": list(geometry.strides),
                "pads": list(geometry.pads),
                "dilations": list(geometry.dilations),
                "group": geometry.groups,
            },
            dtype=values.dtype,
            shape=[values.shape[0], geometry.outputs, *size],
            version=VERSION,
        )

    def extra_repr(self) -> str:
        return f"{self.geometry}"
