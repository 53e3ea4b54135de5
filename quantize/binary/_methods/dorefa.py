"""DoReFa-Net with one bit for weights and one for activations, which are 0 or 1 here.

    forward    a = [clip(x, 0, 1) >= 1/2],  b = sign(w),  y = E sum_k a_k b_k,    E = mean of |w| over the whole layer
    backward   da/dx = 1 where 0 <= x <= 1, else 0;    d(E b_i)/dw_i = 1

After Zhou, Wu, Ni, Zhou, Wen and Zou, "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low
Bitwidth Gradients", 2016 (arXiv:1606.06160), with gradients left in float32. The paper rounds clip(x, 0, 1); 1/2
goes up here, as the sign of 0 does.

With s = sign(x - 1/2), a = (s + 1) / 2, so that y = E/2 sum_k s_k b_k + E/2 sum_k b_k: the layer computes this, in
training and frozen. A padded activation is 0, thus s = -1, and its border is part of the input.

Export: shift = -1/2, alpha = E/2, bias + E/2 sum b; a convolution with padding has a Pad in front.
"""

from __future__ import annotations

from torch import Tensor

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, methods
from edgepack.quantize.binary._sign import sign_with

_HALF = 0.5


@methods.register("dorefa")
class DoReFa(Method):
    """Zhou et al. 2016, one bit each."""

    name = "dorefa"
    paper = "arXiv:1606.06160"
    pads_with = -1.0

    def __init__(self, geometry: Geometry, weight: Tensor) -> None:
        super().__init__(geometry, weight)
        self.register_buffer("minus_half", weight.new_full((geometry.inputs,), -_HALF), persistent=False)

    def shift(self) -> Tensor:
        return self.get_buffer("minus_half")

    def alpha(self, weight: Tensor) -> Tensor:
        return (weight.detach().abs().mean() * _HALF).expand(weight.shape[0])

    def offset(self, bits: Tensor, alpha: Tensor) -> Tensor:
        return alpha * bits.flatten(1).sum(1)

    def activations(self, values: Tensor) -> Tensor:
        # The slope is taken at x: the bounds 0 and 1 are lost in the rounding of x - 1/2.
        return sign_with(values - _HALF, self.activation_slope(values.detach()))

    def activation_slope(self, values: Tensor) -> Tensor:
        # The sums are multiplied by E/2 where the formula has E.
        return 2 * ((values >= 0) & (values <= 1)).to(values.dtype)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        # The bits receive G (s + 1) E/2 = G a E.
        return (_HALF / alpha).where(alpha > 0, 0.0).expand_as(weight)
