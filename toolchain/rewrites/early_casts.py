"""`early casts`: an input of integers becomes float once, where it enters, and not behind every change of its layout.

    Cast(layout(g))  =  layout(Cast(g))        layout: Reshape, Unsqueeze, Squeeze, Slice, Transpose, Expand

A mask is such an input: a copy of it weighs the tokens in the end, and another says where attention may look. An NPU
has no 64-bit integers, so that every layout change in front of a cast runs on the CPU with the cast. Exact for integers
below 2^24, which float32 holds; whether one is 0 is exact for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites._layouts import is_integer, unlaid
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


@rewrite(
    "early casts",
    why="the NPU has no 64-bit integers: what is cast where it enters changes its layout on the NPU",
    cures=(Cure("Cast", "INT64"), Cure("Reshape", "INT64")),
)
def early_casts(model: ir.Model, device: Device) -> int:
    """Cast inputs of integers to float32 first; returns how many casts took their place behind it, or went."""
    import onnx_ir as ir

    del device
    groups: dict[ir.Value, list[tuple[ir.Node, list[ir.Node]]]] = {}
    for node in model.graph:
        to = node.attributes.get_int("to", 0) if standard(node, "Cast") else 0
        if to in {ir.DataType.FLOAT, ir.DataType.BOOL} and not node.outputs[0].is_graph_output():
            source, layouts = unlaid(node.inputs[0])
            if source is not None and source.is_graph_input() and is_integer(source):
                groups.setdefault(source, []).append((node, layouts))
    count = 0
    for source, casts in groups.items():
        if len(casts) == 1 and not casts[0][1]:
            continue  # it is the first thing that happens already
        label = f"{casts[0][0].outputs[0].name}/early"
        first = _before(casts[0][0], "Cast", [source], label, source, to=int(ir.DataType.FLOAT))
        for node, layouts in casts:
            _move(model.graph, node, first, layouts)
        count += len(casts)
    return count


def _move(graph: ir.Graph, cast: ir.Node, first: ir.Value, layouts: list[ir.Node]) -> None:
    """Let the readers of a cast read the float input through the same changes of its layout."""
    import onnx_ir as ir

    old, value = cast.outputs[0], first
    for index, node in enumerate(layouts):
        label = f"{old.name}/layout-{index}"
        value = _before(
            cast, node.op_type, [value, *node.inputs[1:]], label, node.outputs[0], **node.attributes
        )
    if cast.attributes.get_int("to", 0) == ir.DataType.BOOL:
        cast.replace_input_with(0, value)
        return
    ir.convenience.replace_all_uses_with(old, value)
    graph.remove(cast, safe=True)


def _before(
    node: ir.Node,
    op: str,
    inputs: list[ir.Value | None],
    label: str,
    like: ir.Value,
    **attributes: ir.Attr | int,
) -> ir.Value:
    """A node of float32 in front of another, its result of the shape of `like`."""
    import onnx_ir as ir

    made = ir.node(op, inputs, attributes, num_outputs=1, name=label)
    made.outputs[0].name = label
    made.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    made.outputs[0].shape = like.shape
    assert node.graph is not None  # noqa: S101 - it was found in one
    node.graph.insert_before(node, made)
    return made.outputs[0]
