"""XNOR-Net: scales from the magnitudes of weights and of inputs.

    forward    y = K(x) * alpha_n * sum_k sign(x_k) sign(w_nk)
               alpha_n = mean_k |w_nk|
               K = mean of |x| over channels, averaged over the kernel's window     convolution
               K = mean of |x| over features                                        linear
    backward   d(alpha b_i)/dw_i = 1/n + alpha [|w_i| <= 1],    n weights in a filter
               d sign(x)/dx = [|x| <= 1], and K is differentiated as it stands

After Rastegari, Ordonez, Redmon and Farhadi, "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural
Networks", ECCV 2016 (arXiv:1603.05279). The sums see a gradient multiplied by alpha already, so the slope of a bit is
the formula divided by alpha; where all of a filter's weights are zero the first term has no value and is left out.
Padded borders count as zeros in K, as they do in the sums.

Export: alpha; K is computed at run time from the input (ReduceMean, AveragePool) and multiplies what the operator
gives, so that the bias comes after it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, mean_magnitude, methods
from edgepack.quantize.binary._sign import inside


class InputScale(nn.Module):
    """K: [..., 1] of a linear layer, [batch, groups = 1, height, width] of a convolution."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry

    def forward(self, values: Tensor) -> Tensor:
        """The scale of each row or output position."""
        kernel = self.geometry.kernel
        if kernel is None:
            return values.abs().mean(-1, keepdim=True)
        means = self.geometry.padded(values.abs().mean(-3, keepdim=True), 0.0)
        return avg_pool2d(means, kernel, self.geometry.strides)


@methods.register("xnor-net")
class XNORNet(Method):
    """Rastegari et al. 2016."""

    name = "xnor-net"
    paper = "arXiv:1603.05279"

    def __init__(self, geometry: Geometry, weight: Tensor) -> None:
        super().__init__(geometry, weight)
        self.input_scale = InputScale(geometry)

    def alpha(self, weight: Tensor) -> Tensor:
        # Its gradient is the first term of the formula, which the bits' slope holds.
        return mean_magnitude(weight.detach())

    def activation_slope(self, values: Tensor) -> Tensor:
        return inside(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        first = (1 / (alpha * weight[0].numel())).where(alpha > 0, 0.0)
        return first + inside(weight)
