"""`transposed steps`: a transposed convolution that makes blocks of 4 x 4 pixels, as two that make blocks of 2 x 2.

    y[4 i + 2 a + c] = sum over k of x[i, k] w[k, 2 a + c]
    t[2 i + a, c]    = sum over k of x[i, k] w[k, 2 a + c],        y[2 j + c] = sum over c' of t[j, c'] [c' = c]

for both axes of an image. The first has four times the channels, one for each place within a block of the second, whose
weights, 0 and 1, put them there: it copies, and the sums are those of the first. Ethos-U55 and U65 take steps of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_STEP = 4
_WEIGHTS = 1 << 24


@rewrite(
    "transposed steps",
    why="the NPU's transposed convolutions make blocks of 2 x 2 pixels; two of them make blocks of 4 x 4",
    cures=(Cure("TRANSPOSE_CONV", "stride"),),
)
def transposed_steps(model: ir.Model, device: Device) -> int:
    """Rewrite transposed convolutions whose kernel and step are 4 x 4; returns how many."""
    import numpy as np

    del device
    count = 0
    for node in list(model.graph):
        weights = _weights(node)
        if weights is None:
            continue
        channels, out = weights.shape[:2]
        halves = weights.reshape(channels, out, 2, 2, 2, 2)  # k, o, a, c, b, d
        coarse = halves.transpose(0, 3, 5, 1, 2, 4).reshape(channels, 4 * out, 2, 2)
        fine = np.eye(4 * out, dtype=np.float32).reshape(4 * out, 2, 2, out).transpose(0, 3, 1, 2)
        new = Build(model.graph, node)
        first = new.number(np.ascontiguousarray(coarse), "coarse-weights")
        half = new.op("ConvTranspose", [node.inputs[0], first], "coarse", strides=[2, 2])
        second = new.number(np.ascontiguousarray(fine), "fine-weights")
        new.finish("ConvTranspose", [half, second, *node.inputs[2:]], strides=[2, 2])
        count += 1
    return count


def _weights(node: ir.Node) -> np.ndarray | None:
    """The weights [in, out, 4, 4] of a node that is one of them."""
    if not standard(node, "ConvTranspose"):
        return None
    given = node.attributes
    found = constant(node.inputs[1], limit=_WEIGHTS)
    if found is None or found.shape[2:] != (_STEP, _STEP):
        return None
    plain = not any((*given.get_ints("pads", [0]), *given.get_ints("output_padding", [0])))
    plain = plain and given.get_string("auto_pad", "NOTSET") in {"NOTSET", "VALID"}
    plain = plain and "output_shape" not in given and given.get_int("group", 1) == 1
    steps = tuple(given.get_ints("strides", [1, 1]))
    return found if plain and steps == (_STEP, _STEP) and max(given.get_ints("dilations", [1])) == 1 else None
