"""BiPer: weights as the signs of a periodic function of them.

    forward    y = alpha_n sum_k sign(x_k) sign(sin(o w_nk)),    alpha learned
    backward   d sign(sin(o w))/dw = o cos(o w)                  the derivative of sin(o w)
               d sign(x)/dx as Bi-Real's, at x / std x in training

After Vargas, Correa, Hinojosa and Arguello, "BiPer: Binary Neural Networks using a Periodic Function", CVPR 2024
(arXiv:2404.01278). They train in two stages: first with real weights sin(o w) and binary activations, then with
both binary. `progress` changes from the first to the second in the middle of the training, which is ours; until it is
called, and whenever the layer is in eval mode, both are binary. o defaults to 20.

Export: bits of sin(o w), alpha.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import Method, mean_magnitude, methods
from edgepack.quantize.binary._sign import triangle
from edgepack.quantize.binary._standard import by_deviation

_SECOND_STAGE = 0.5


@methods.register("biper")
class BiPer(Method):
    """Vargas et al. 2024.

    Args:
        geometry: The layer's sizes.
        weight: Its float weight.
        frequency: o, in radians a unit of weight.
    """

    name = "biper"
    paper = "arXiv:2404.01278"

    def __init__(self, geometry: Geometry, weight: Tensor, *, frequency: float = 20.0) -> None:
        super().__init__(geometry, weight)
        self.frequency = frequency
        self.binary_weights = True
        self.scale = nn.Parameter(mean_magnitude(weight))

    def progress(self, fraction: float) -> None:
        self.binary_weights = fraction >= _SECOND_STAGE

    def activations(self, values: Tensor) -> Tensor:
        return super().activations(by_deviation(values) if self.training else values)

    def latent(self, weight: Tensor) -> Tensor:
        return torch.sin(self.frequency * weight)

    def weights(self, weight: Tensor, alpha: Tensor) -> Tensor:
        if self.training and not self.binary_weights:
            return weight
        return super().weights(weight, alpha)

    def alpha(self, weight: Tensor) -> Tensor:
        del weight
        return self.scale

    def activation_slope(self, values: Tensor) -> Tensor:
        return triangle(values)

    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        # sin is differentiated as it stands.
        del alpha
        return weight.new_ones(weight.shape)
