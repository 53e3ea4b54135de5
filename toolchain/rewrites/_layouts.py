"""Changes of a tensor's layout, that move its numbers and compute nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import onnx_ir as ir

_LAYOUT = ("Reshape", "Unsqueeze", "Squeeze", "Slice", "Transpose", "Expand", "Identity")


def unlaid(value: ir.Value | None) -> tuple[ir.Value | None, list[ir.Node]]:
    """What a value is but for its layout, and the changes of it in order, all of them by constants."""
    layouts: list[ir.Node] = []
    while value is not None and not value.is_graph_input():
        node = value.producer()
        if (
            node is None
            or not standard(node, *_LAYOUT)
            or any(constant(v) is None for v in node.inputs[1:] if v)
        ):
            break
        layouts.insert(0, node)
        value = node.inputs[0]
    return value, layouts


def is_integer(value: ir.Value | None) -> bool:
    """Whether a value is of integers, as its type says."""
    return value is not None and value.dtype is not None and value.dtype.is_integer()
