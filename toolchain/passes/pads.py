"""`pads`: a Pad with zeros before a convolution becomes the convolution's own padding.

Exporters write TensorFlow's "same" padding, which is not symmetric, as a Pad of its own; a convolution
takes the same four numbers, and an accelerator need not move the image twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import onnx_ir as ir


@passes.register("pads")
def pads(model: ir.Model) -> int:
    """Move constant zero padding into the Conv behind it; returns how many."""
    return sum(_fold(graph, node) for graph in list(model.graphs()) for node in list(graph))


def _fold(graph: ir.Graph, conv: ir.Node) -> bool:
    import onnx_ir as ir

    if not standard(conv, "Conv") or conv.inputs[0] is None:
        return False
    padded = conv.inputs[0]
    pad = padded.producer()
    if pad is None or not standard(pad, "Pad") or pad.graph is not graph or pad.inputs[0] is None:
        return False
    shared = padded.is_graph_output() or len(padded.uses()) > 1
    amounts = _amounts(pad)
    if shared or amounts is None or conv.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    begins, ends = amounts
    # Only the image is padded: a convolution cannot pad the batch or its channels.
    if any(begins[:2]) or any(ends[:2]) or min((*begins, *ends)) < 0:
        return False
    axes = len(begins) - 2
    own = conv.attributes.get_ints("pads", [0] * (2 * axes))
    new = [a + b for a, b in zip(own, (*begins[2:], *ends[2:]), strict=True)]
    conv.attributes["pads"] = ir.AttrInt64s("pads", new)
    conv.replace_input_with(0, pad.inputs[0])
    graph.remove(pad, safe=True)
    return True


def _amounts(pad: ir.Node) -> tuple[list[int], list[int]] | None:
    """Begins and ends per axis of a Pad with constant zeros over all axes, else None."""
    if pad.attributes.get_string("mode", "constant") != "constant" or len(pad.inputs) < 2:  # noqa: PLR2004
        return None
    values = constant(pad.inputs[1])
    filling = pad.inputs[2] if len(pad.inputs) > 2 else None  # noqa: PLR2004 - Pad's third input
    if filling is not None:
        number = constant(filling)
        if number is None or number.size != 1 or float(number.reshape(())) != 0.0:
            return None
    if values is None or (len(pad.inputs) > 3 and pad.inputs[3] is not None):  # noqa: PLR2004 - axes
        return None
    flat = [int(v) for v in values.reshape(-1)]
    half = len(flat) // 2
    return flat[:half], flat[half:]
