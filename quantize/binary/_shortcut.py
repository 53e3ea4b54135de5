"""The real-valued way around a binary layer.

    y + R(x)

R leaves x as it is, averages over windows of the strides, and repeats the channels, whichever the output's size asks
for; without parameters. After Liu et al. 2018 (Bi-Real Net: one shortcut a convolution) and Liu et al. 2020
(ReActNet: an average over 2 x 2 and channels twice where sizes change).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from edgepack.quantize.binary._geometry import Geometry


def shortcut_fits(geometry: Geometry) -> bool:
    """Whether the input can be brought to the output's size: whole multiples of channels, "same" padding."""
    if geometry.outputs % geometry.inputs:
        return False
    if geometry.kernel is None:
        return True
    top, left, bottom, right = geometry.pads
    return (top + bottom, left + right) == (geometry.extent[0] - 1, geometry.extent[1] - 1)


class Shortcut(nn.Module):
    """Adds a layer's input to its output; for a geometry for which `shortcut_fits`."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry

    def forward(self, y: Tensor, values: Tensor) -> Tensor:
        """Output and input of the layer to their sum."""
        geometry = self.geometry
        if geometry.strides != (1, 1):
            values = avg_pool2d(
                values, geometry.strides, geometry.strides, ceil_mode=True, count_include_pad=False
            )
        times = geometry.outputs // geometry.inputs
        if times > 1:
            values = torch.cat([values] * times, -1 if geometry.kernel is None else -3)
        return y + values
