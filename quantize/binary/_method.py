"""What a method of binarization decides, and the registry of methods, one file each in `_methods`.

    y = alpha * sum_k s_k b_k + offset + bias,    then, by method, scales, the norm behind, a shortcut, an activation
    s = sign(x + shift),  b = sign(f(w))

A method is a module, one for each layer: it holds the parameters that it adds to the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._sign import sign_with
from edgepack.toolchain.registry import Registry


class Method(nn.Module, ABC):
    """One layer's binarization.

    Args:
        geometry: The layer's sizes.
        weight: Its float weight, to start added parameters from.

    Attributes:
        pads_with: What a padded activation counts as in the sums; 0 or -1.
        absorbs_norm: Whether a BatchNorm behind the layer belongs into it, since something else comes after.
        clips_weights: Whether weights are kept in [-1, 1] after each step of the optimizer.
        input_scale: Computes a scale from the layer's input, at run time: [..., 1] or [batch, 1, height, width].
        after: Computes the layer's output from what the norm gave and the layer's input.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    pads_with: ClassVar[float] = 0.0
    absorbs_norm: ClassVar[bool] = False
    clips_weights: ClassVar[bool] = False
    input_scale: nn.Module | None
    after: nn.Module | None

    def __init__(self, geometry: Geometry, weight: Tensor) -> None:
        super().__init__()
        del weight  # for those that start a parameter from it
        self.geometry = geometry
        self.input_scale = None
        self.after = None

    @abstractmethod
    def activation_slope(self, values: Tensor) -> Tensor:
        """What stands for the derivative of sign at `values`, the shifted activations."""

    @abstractmethod
    def weight_slope(self, weight: Tensor, alpha: Tensor) -> Tensor:
        """What stands for the derivative of the bits at `weight`.

        Args:
            weight: What `latent` gave.
            alpha: [N], shaped to multiply the weight, without gradient.
        """

    def shift(self) -> Tensor | None:
        """[K], added to the activations before their sign."""
        return None

    def activations(self, values: Tensor) -> Tensor:
        """The bits of a layer's input, +1 and -1."""
        shift = self.shift()
        if shift is not None:
            values = values + self.geometry.per_channel(shift)
        return sign_with(values, self.activation_slope(values.detach()))

    def latent(self, weight: Tensor) -> Tensor:
        """f(w): what the weights' bits are the signs of."""
        return weight

    def alpha(self, weight: Tensor) -> Tensor:
        """[N], the scale of an output; of ones unless the method has one.

        Args:
            weight: What `latent` gave.
        """
        return weight.new_ones(weight.shape[0])

    def weights(self, weight: Tensor, alpha: Tensor) -> Tensor:
        """The bits of what `latent` gave, +1 and -1; `alpha` is [N]."""
        shaped = alpha.detach().reshape(-1, *(1,) * (weight.dim() - 1))
        return sign_with(weight, self.weight_slope(weight.detach(), shaped))

    def offset(self, bits: Tensor, alpha: Tensor) -> Tensor | None:
        """[N], added to the bias; or None."""
        del bits, alpha
        return None

    def output_scale(self) -> Tensor | None:
        """A learned scale of output positions, [height, width]; or None."""
        return None

    def progress(self, fraction: float) -> None:
        """Be told how much of the training is done, from 0 to 1; schedules follow it."""


methods: Registry[type[Method]] = Registry("method of binarization", "edgepack.quantize.binary._methods")


def mean_magnitude(weight: Tensor) -> Tensor:
    """[N], the mean of |w| of each output."""
    return weight.abs().flatten(1).mean(1)
