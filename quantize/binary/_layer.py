"""The layer that trains: real weights inside, bits in the product."""

from __future__ import annotations

from torch import Tensor, nn

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method


class BinaryLayer(nn.Module):
    """Stands where a Linear or Conv2d stood, with its parameters.

    Scales multiply the sums and not the bits, in training as in the frozen layer: the sums are whole numbers in both,
    so that both give the same to the last bit of a multiplication and an addition.

    Args:
        geometry: Sizes.
        weight: The float layer's parameter.
        bias: The same, or None.
        method: Made for this layer.
        norm: A BatchNorm that stood behind the layer and belongs before the method's `after`.
    """

    def __init__(
        self,
        geometry: Geometry,
        weight: Tensor,
        bias: Tensor | None,
        method: Method,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.weight = weight
        self.bias = bias
        self.method = method
        self.norm = norm
        self.rank: int | None = None
        """Dimensions of the last input: a BatchNorm1d behind is per feature for two, and not for three."""

    def forward(self, values: Tensor) -> Tensor:
        """Activations to activations, in the shapes of the layer that was replaced."""
        self.rank = values.dim()
        geometry, method = self.geometry, self.method
        bits, alpha = self.bits()
        activations = method.activations(values)
        if method.pads_with:
            sums = geometry.unpadded().product(geometry.padded(activations, method.pads_with), bits)
        else:
            sums = geometry.product(activations, bits)
        y = sums * geometry.per_channel(alpha)
        if method.input_scale is not None:
            y = y * method.input_scale(values)
        scale = method.output_scale()
        if scale is not None:
            y = y * scale
        bias = self.full_bias(bits, alpha)
        if bias is not None:
            y = y + geometry.per_channel(bias)
        if self.norm is not None:
            y = self.norm(y)
        if method.after is not None:
            y = method.after(y, values)
        return y

    def bits(self) -> tuple[Tensor, Tensor]:
        """The weights as +1 and -1, and alpha [N]."""
        latent = self.method.latent(self.weight)
        alpha = self.method.alpha(latent)
        return self.method.weights(latent, alpha), alpha

    def full_bias(self, bits: Tensor, alpha: Tensor) -> Tensor | None:
        """[N], the bias with the method's offset."""
        offset = self.method.offset(bits, alpha)
        if offset is None or self.bias is None:
            return self.bias if offset is None else offset
        return self.bias + offset

    def extra_repr(self) -> str:
        return f"{self.method.name}, {self.geometry}"
