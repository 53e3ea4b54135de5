"""XNOR-Net++: the scales of weights and activations fused into one that is learned.

    forward    y_nij = G_nij sum sign(x) sign(w),    G_nij = alpha_n beta_i gamma_j
    backward   d sign(v)/dv = 1 where |v| <= 1, else 0;    alpha, beta and gamma learn by their own derivatives

After Bulat and Tzimiropoulos, "XNOR-Net++: Improved binary neural networks", BMVC 2019 (arXiv:1909.13863): their
form with one factor for each of channels, rows and columns. Where the size of the output is not known (`convert`
without `example_inputs`), and in linear layers, there is alpha alone, which is their form with one scale a channel.
alpha starts from the mean of |w|, beta and gamma from 1.

Export: alpha; beta_i gamma_j multiplies what the operator gives, and the bias comes after it. The network takes
inputs of that one size then.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, mean_magnitude, methods
from edgepack.quantize.binary._sign import inside


@methods.register("xnor++")
class XNORPlusPlus(Method):
    """Bulat and Tzimiropoulos 2019."""

    name = "xnor++"
    paper = "arXiv:1909.13863"

    def __init__(self, geometry: Geometry, weight: Tensor) -> None:
        super().__init__(geometry, weight)
        self.scale = nn.Parameter(mean_magnitude(weight))
        self.rows: nn.Parameter | None = None
        self.columns: nn.Parameter | None = None
        if geometry.output_size is not None:
            self.rows, self.columns = (
                nn.Parameter(torch.ones(size, dtype=weight.dtype)) for size in geometry.output_size
            )

    def alpha(self, weight: Tensor) -> Tensor:
        del weight
        return self.scale

    def output_scale(self) -> Tensor | None:
        if self.rows is None or self.columns is None:
            return None
        return self.rows[:, None] * self.columns

    def activation_slope(self, values: Tensor) -> Tensor:
        return inside(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        del alpha
        return inside(weight)
