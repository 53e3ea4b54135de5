"""BiBERT: layers whose weights are centred before their signs are taken, around an attention without softmax.

    forward    y = alpha_n * sum_k sign(x_k) sign(c_nk),    c_n = w_n - mean w_n,    alpha_n = mean_k |c_nk|
    backward   d sign(v)/dv = 1 where |v| <= 1, else 0        for both (straight-through estimator)
               c is differentiated as it stands, alpha counts as a constant

After Qin, Ding, Zhang, Yan, Liu, Dang, Liu and Liu, "BiBERT: Accurate Fully Binarized BERT", ICLR 2022
(arXiv:2203.06390): centred weights have signs of the largest entropy, and the mean of magnitudes is the scale nearest
to them by least squares. The attention is `_attentions/bi.py`, which `convert` puts in the place of those that it
knows; what it learns from a float teacher is in `_distillation`.

Export: bits of w - mean w, alpha.
"""

from __future__ import annotations

from torch import Tensor

from edgepack.quantize.binary._method import Method, mean_magnitude, methods
from edgepack.quantize.binary._sign import inside


@methods.register("bibert")
class BiBERT(Method):
    """Qin et al. 2022."""

    name = "bibert"
    paper = "arXiv:2203.06390"

    def latent(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        return (rows - rows.mean(1, keepdim=True)).reshape(weight.shape)

    def alpha(self, weight: Tensor) -> Tensor:
        return mean_magnitude(weight.detach())

    def activation_slope(self, values: Tensor) -> Tensor:
        return inside(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        del alpha
        return inside(weight)
