"""`padded strides`: zeros around an image are put there before a convolution of long steps, not by it.

    conv(x, padded by p, stride s)  =  conv([0 | x | 0], stride s)

Ethos-U55 and U65 take steps of more than three pixels where a convolution pads nothing. Zeros that a PAD puts there do
not help: the compiler makes them the convolution's own again, and fails or leaves it to the CPU. Put together like any
other tensors they stay apart. The networks of this kind begin so, with a patch of the image at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites.base import Device, rewrite
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_IMAGE = 4


@rewrite(
    "padded strides",
    why="the NPU takes long steps only where a convolution pads nothing; the zeros are put there before",
    first=lambda device: device.most_padded_stride > 0,
)
def padded_strides(model: ir.Model, device: Device) -> int:
    """Rewrite convolutions of images with known shapes; returns how many."""
    count = 0
    for node in list(model.graph):
        pads = _pads(node, device)
        if pads is None:
            continue
        new = Build(model.graph, node)
        x = node.inputs[0]
        assert x is not None  # noqa: S101 - `_pads` asked for it
        shape = list(known_shape(x) or ())
        for axis, (before, after) in enumerate(zip(pads[:2], pads[2:], strict=True), start=2):
            x = _between(new, x, shape, axis, before, after)
            shape[axis] += before + after
        kept = {name: value for name, value in node.attributes.items() if name not in {"pads", "auto_pad"}}
        new.finish("Conv", [x, *node.inputs[1:]], **kept)
        count += 1
    return count


def _pads(node: ir.Node, device: Device) -> list[int] | None:
    """How many zeros are put [above, left, below, right], where a convolution's steps are too long for that."""
    if not standard(node, "Conv") or not device.most_padded_stride:
        return None
    shape = known_shape(node.inputs[0])
    pads = list(node.attributes.get_ints("pads", [0] * 4))
    strides = node.attributes.get_ints("strides", [1] * 2)
    dilations = node.attributes.get_ints("dilations", [1] * 2)
    given = node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
    if shape is None or len(shape) != _IMAGE or not given or max(strides) <= device.most_padded_stride:
        return None
    if not any(pads) or min(pads) < 0 or max(dilations) > 1 or node.attributes.get_int("group", 1) != 1:
        return None
    return pads


def _between(new: Build, x: ir.Value, shape: list[int], axis: int, before: int, after: int) -> ir.Value:
    """A tensor between zeros along an axis."""
    import numpy as np

    def zeros(count: int, what: str) -> list[ir.Value]:
        sizes = [*shape[:axis], count, *shape[axis + 1 :]]
        return [new.number(np.zeros(sizes, np.float32), f"{what}-{axis}")] if count else []

    pieces = [*zeros(before, "before"), x, *zeros(after, "after")]
    return x if len(pieces) == 1 else new.op("Concat", pieces, f"padded-{axis}", axis=axis)
