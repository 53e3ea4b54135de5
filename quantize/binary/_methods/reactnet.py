"""ReActNet: thresholds of the sign and an activation function that are learned per channel.

    RSign       s = sign(x - a_c)
    RPReLU      f(y) = y - g_c + z_c where y > g_c,  b_c (y - g_c) + z_c elsewhere
    forward     f(norm(alpha_n * sum_k s_k sign(w_nk)) + R(x)),    alpha_n = mean_k |w_nk|
    backward    as Bi-Real; a_c receives minus the sum of what its channel's activations receive

After Liu, Shen, Savvides and Cheng, "ReActNet: Towards Precise Binary Neural Network with Generalized Activation
Functions", ECCV 2020 (arXiv:2003.03488).

Export: shift = -a, alpha, with the norm folded in, and g with it, since R(x) + bias - g is R(x) + (bias - g). Behind a
shortcut, with b <= 1,

    f(y + g) - z = max(y, b y)

is what is exported: ONNX Runtime computes it several times faster than PRelu, and gets the same number.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import prelu

from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._method import methods
from edgepack.quantize.binary._methods.bi_real import BiReal


class RPReLU(nn.Module):
    """A PReLU whose origin is learned per channel, behind a shortcut if there is one."""

    def __init__(self, geometry: Geometry, shortcut: nn.Module | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.geometry = geometry
        self.shortcut = shortcut
        self.origin = nn.Parameter(torch.zeros(geometry.outputs, dtype=dtype))
        self.target = nn.Parameter(torch.zeros(geometry.outputs, dtype=dtype))
        self.slope = nn.Parameter(torch.full((geometry.outputs,), 0.25, dtype=dtype))

    def forward(self, y: Tensor, values: Tensor) -> Tensor:
        """Output of the norm and input of the layer to the layer's output."""
        shaped = self.geometry.per_channel
        if self.shortcut is not None:
            y = self.shortcut(y, values)
        moved = y - shaped(self.origin)
        if self.geometry.kernel is None or y.dim() == 3:  # noqa: PLR2004 - where channels are not the second dimension
            bent = torch.where(moved > 0, moved, shaped(self.slope) * moved)
        else:
            bent = prelu(moved, self.slope)
        return bent + shaped(self.target)

    def frozen(self) -> FrozenRPReLU:
        """The same for a layer whose bias has the origin taken off already."""
        return FrozenRPReLU(self.geometry, self.shortcut, self.slope.detach(), self.target.detach())


class FrozenRPReLU(nn.Module):
    """An RPReLU with its bend at zero, as it is exported."""

    slope: Tensor
    target: Tensor

    def __init__(self, geometry: Geometry, shortcut: nn.Module | None, slope: Tensor, target: Tensor) -> None:
        super().__init__()
        self.geometry = geometry
        self.shortcut = shortcut
        self.register_buffer("slope", slope.float().clone())
        self.register_buffer("target", target.float().clone())
        # Without a shortcut the layer behind may read its sign alone, and PRelu is what is folded then.
        self.as_maximum = shortcut is not None and bool((slope <= 1).all())

    def forward(self, y: Tensor, values: Tensor) -> Tensor:
        """What the operator gives, and the input of the layer, to the layer's output."""
        shaped = self.geometry.per_channel
        if self.shortcut is not None:
            y = self.shortcut(y, values)
        if self.as_maximum:
            bent = torch.maximum(y, shaped(self.slope) * y)
        elif self.geometry.kernel is None or y.dim() == 3:  # noqa: PLR2004 - as above
            bent = torch.where(y > 0, y, shaped(self.slope) * y)
        else:
            bent = prelu(y, self.slope)
        return bent + shaped(self.target)


@methods.register("reactnet")
class ReActNet(BiReal):
    """Liu et al. 2020."""

    name = "reactnet"
    paper = "arXiv:2003.03488"

    def __init__(self, geometry: Geometry, weight: Tensor) -> None:
        super().__init__(geometry, weight)
        self.threshold = nn.Parameter(weight.new_zeros(geometry.inputs))
        self.after = RPReLU(geometry, self.after, weight.dtype)

    def shift(self) -> Tensor:
        return -self.threshold
