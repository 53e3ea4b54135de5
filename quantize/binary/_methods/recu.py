"""ReCU: weights that are too large to ever change their sign are brought back.

    u = (w - mean w) / std w * 2 sqrt(2)                              per output
    c = max(min(u, Q), -Q),    Q = -b ln(2 - 2 tau),  b = mean |u|    quantile tau of a Laplace distribution
    forward    y = alpha_n sum_k sign(x_k / std x) sign(c_nk),        alpha learned
    backward   d sign(c)/dc = 1,  dc/du = 1 where |u| <= Q, else 0, and u is differentiated as it stands, Q constant
               d sign(x)/dx as Bi-Real's, at x / std x

After Xu, Lin, Liu, Chen, Shao, Gao, Tian and Ji, "ReCU: Reviving the Dead Weights in Binary Neural Networks", ICCV
2021 (arXiv:2103.12369). tau goes from 0.85 to 0.99 with the training's progress; that it does so in a straight line
is ours, and so is Q per layer. Activations are divided by the deviation of their sample in training only: that
changes no sign.

Export: bits of w - mean w, alpha; nothing of the rest is left.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, mean_magnitude, methods
from edgepack.quantize.binary._sign import triangle
from edgepack.quantize.binary._standard import by_deviation, standardized

_FIRST, _LAST = 0.85, 0.99


@methods.register("recu")
class ReCU(Method):
    """Xu et al. 2021.

    Args:
        geometry: The layer's sizes.
        weight: Its float weight.
        tau: The quantile; None follows the schedule.
    """

    name = "recu"
    paper = "arXiv:2103.12369"

    def __init__(self, geometry: Geometry, weight: Tensor, *, tau: float | None = None) -> None:
        super().__init__(geometry, weight)
        self.fixed = tau is not None
        self.tau = _FIRST if tau is None else tau
        self.scale = nn.Parameter(mean_magnitude(weight))

    def progress(self, fraction: float) -> None:
        if not self.fixed:
            self.tau = _FIRST + (_LAST - _FIRST) * fraction

    def activations(self, values: Tensor) -> Tensor:
        return super().activations(by_deviation(values) if self.training else values)

    def latent(self, weight: Tensor) -> Tensor:
        spread = standardized(weight) * math.sqrt(8)
        bound = float(-spread.detach().abs().mean() * math.log(2 - 2 * self.tau))
        return spread.clamp(-bound, bound)

    def alpha(self, weight: Tensor) -> Tensor:
        del weight
        return self.scale

    def activation_slope(self, values: Tensor) -> Tensor:
        return triangle(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        del alpha
        return weight.new_ones(weight.shape)
