"""BNN: signs of weights and of activations, and nothing else.

    forward    y = sum_k sign(x_k) sign(w_k)
    backward   d sign(v)/dv = 1 where |v| <= 1, else 0        for both (straight-through estimator)
    update     w <- clip(w, -1, 1)

After Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks", NeurIPS 2016 (arXiv:1602.02830).
Export: alpha = 1, no shift.
"""

from __future__ import annotations

from torch import Tensor

from edgepack.quantize.binary._method import Method, methods
from edgepack.quantize.binary._sign import inside


@methods.register("bnn")
class BNN(Method):
    """Hubara et al. 2016."""

    name = "bnn"
    paper = "arXiv:1602.02830"
    clips_weights = True

    def activation_slope(self, values: Tensor) -> Tensor:
        return inside(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        del alpha
        return inside(weight)
