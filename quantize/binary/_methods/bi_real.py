"""Bi-Real Net: a gradient nearer to the sign's, and a real-valued shortcut around each layer.

    forward    y = norm(alpha_n * sum_k sign(x_k) sign(w_nk)) + R(x),    alpha_n = mean_k |w_nk|
    backward   d sign(x)/dx = 2 + 2x for -1 <= x < 0,  2 - 2x for 0 <= x < 1,  else 0
               d(alpha b_i)/dw_i = alpha [|w_i| <= 1]                   alpha counts as a constant

After Liu, Wu, Luo, Yang, Liu and Cheng, "Bi-Real Net: Enhancing the Performance of 1-bit CNNs With Improved
Representational Capability and Advanced Training Algorithm", ECCV 2018 (arXiv:1808.00278).

Export: alpha, with the norm folded in; the shortcut is an addition of its own.
"""

from __future__ import annotations

from torch import Tensor

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, mean_magnitude, methods
from edgepack.quantize.binary._shortcut import Shortcut, shortcut_fits
from edgepack.quantize.binary._sign import inside, triangle


@methods.register("bi-real")
class BiReal(Method):
    """Liu et al. 2018."""

    name = "bi-real"
    paper = "arXiv:1808.00278"
    absorbs_norm = True

    def __init__(self, geometry: Geometry, weight: Tensor) -> None:
        super().__init__(geometry, weight)
        self.after = Shortcut(geometry) if shortcut_fits(geometry) else None

    def alpha(self, weight: Tensor) -> Tensor:
        return mean_magnitude(weight.detach())

    def activation_slope(self, values: Tensor) -> Tensor:
        return triangle(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        del alpha
        return inside(weight)
