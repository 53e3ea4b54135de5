"""Margins of zeros that a convolution can add by itself.

A PAD in front of a VALID convolution is the convolution's own SAME padding where ceil(size / stride) windows come out
and the smaller half of the margin lies before. Zero is what SAME adds, in integers the zero point.
"""

from __future__ import annotations

from edgepack.targets.mobile._tflite.graph import Graph, Operator

_IMAGE = 4


def join_pads(graph: Graph) -> int:
    """Drop every PAD that the convolutions behind it can do without, in place; returns how many."""
    consumers, count = graph.consumers(), 0
    for operator in list(graph.operators):
        readers = consumers.get(operator.outputs[0], [])
        if operator.code != "PAD" or not readers or operator.outputs[0] in graph.outputs.values():
            continue
        if not all(_is_same(operator, reader) for reader in readers):
            continue
        for reader in readers:
            reader.inputs[0] = operator.inputs[0]
            reader.options["padding"] = "SAME"
        graph.operators.remove(operator)
        count += 1
    return count


def _is_same(pad: Operator, reader: Operator) -> bool:
    image, kernel = pad.inputs[0], reader.inputs[1] if len(reader.inputs) > 1 else None
    margins = pad.inputs[1].small if pad.inputs[1] is not None else None
    if reader.code not in {"CONV_2D", "DEPTHWISE_CONV_2D"} or reader.options.get("padding") != "VALID":
        return False
    if image is None or kernel is None or margins is None or reader.inputs[0] is not pad.outputs[0]:
        return False
    if len(image.shape) != _IMAGE or margins[[0, 3]].any():
        return False
    for axis, side in ((1, "H"), (2, "W")):
        stride = reader.options[f"stride{side}"]
        extent = reader.options.get(f"dilation{side}Factor", 1) * (kernel.shape[axis] - 1) + 1
        size, out = image.shape[axis], reader.outputs[0].shape[axis]
        missing = max(0, (out - 1) * stride + extent - size)
        before, after = (int(n) for n in margins[axis])
        if out != -(-size // stride) or before != missing // 2 or after < missing - missing // 2:
            return False
    return True
