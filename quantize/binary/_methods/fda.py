"""FDA: the gradient of the sign from its Fourier series, corrected by a small network that learns the rest.

    sign(v) ~ s_n(v) = 4/pi sum_{i=0..n} sin((2i+1) o v) / (2i+1)
    forward    y = alpha_n sum_k sign(x_k) sign(w_nk),    alpha_n = mean |w_n|
    backward   d sign(v)/dv = 4 o/pi sum_{i=0..n} cos((2i+1) o v)  +  eta'(v)
    eta(v) = f (F relu(A v) + v)                          noise adaptation, along channels or features

After Xu, Han, Xu, Tang, Xu and Wang, "Learning Frequency Domain Approximation for Binary Neural Networks", NeurIPS
2021 (arXiv:2103.00841). The module adds its gradients and no value, and its own weights learn from what it would
have added; its share f falls from 0.1 to 0 with the progress of the training, which schedule, size (a quarter of the
channels) and start are ours. n and o default to 9 and 0.1: then the slope is positive within |v| < 1.57.

Export: signs and alpha. The noise module is gone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, mean_magnitude, methods

_SHARE = 0.1
_REDUCTION = 4


class Noise(nn.Module):
    """eta: two matrices along one dimension beside the values themselves; the outer one starts from zeros.

    All of it is multiplied by the share: with the matrices left out of it, their gradients outgrew the series' own, and
    a small network on Fashion-MNIST did not train.
    """

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        inner = max(channels // _REDUCTION, 1)
        self.inner = nn.Linear(channels, inner, bias=False, dtype=dtype)
        self.outer = nn.Linear(inner, channels, bias=False, dtype=dtype)
        nn.init.zeros_(self.outer.weight)
        self.share = _SHARE

    def forward(self, values: Tensor, dim: int) -> Tensor:
        """Of the values' shape; `dim` holds the channels."""
        last = values.transpose(dim, -1)
        corrected: Tensor = self.outer(torch.relu(self.inner(last))).transpose(dim, -1)
        return self.share * (corrected + values)


@methods.register("fda")
class FDA(Method):
    """Xu et al. 2021.

    Args:
        geometry: The layer's sizes.
        weight: Its float weight.
        terms: n; the series has n + 1 terms.
        frequency: o.
    """

    name = "fda"
    paper = "arXiv:2103.00841"

    def __init__(self, geometry: Geometry, weight: Tensor, *, terms: int = 9, frequency: float = 0.1) -> None:
        super().__init__(geometry, weight)
        self.terms, self.frequency = terms, frequency
        self.of_activations = Noise(geometry.inputs, weight.dtype)
        self.of_weights = Noise(weight.shape[1], weight.dtype)

    def progress(self, fraction: float) -> None:
        self.of_activations.share = self.of_weights.share = _SHARE * (1 - fraction)

    def activations(self, values: Tensor) -> Tensor:
        signs = super().activations(values)
        if not self.training:
            return signs
        return _with_gradients(signs, self.of_activations(values, -1 if self.geometry.kernel is None else -3))

    def weights(self, weight: Tensor, alpha: Tensor) -> Tensor:
        signs = super().weights(weight, alpha)
        return _with_gradients(signs, self.of_weights(weight, 1)) if self.training else signs

    def alpha(self, weight: Tensor) -> Tensor:
        return mean_magnitude(weight.detach())

    def activation_slope(self, values: Tensor) -> Tensor:
        return self._series(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        del alpha
        return self._series(weight)

    def _series(self, values: Tensor) -> Tensor:
        """The series' derivative, term after term: memory stays that of the values."""
        slope = torch.zeros_like(values)
        for term in range(self.terms + 1):
            slope += torch.cos((2 * term + 1) * self.frequency * values)
        return slope * (4 * self.frequency / math.pi)


def _with_gradients(signs: Tensor, noise: Tensor) -> Tensor:
    """The signs, exactly, with the noise's gradients: finite noise minus itself is 0."""
    return signs + (noise - noise.detach())
