"""Operators that MNN converts without a word, and computes wrongly: refused by name.

Each was asked of MNN 3.6.1 (`tests/targets/mobile/test_mnn_graph.py` asks the installed one again). What can be written
in other operators is (`_mnn_graph`); the rest is here, so that a user reads which operator it was, and not that numbers
of the whole network are wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import onnx_ir as ir

_VOLUME = 5  # axes of a batch of volumes with channels
_POOLS = ("MaxPool", "AveragePool")


def refuse(model: ir.Model, part: str) -> None:
    """Refuse a graph with such an operator.

    Args:
        model: Any graph.
        part: Its name, for the error.

    Raises:
        TargetError: It has one: which, and what MNN does with it.
    """
    for node in model.graph.all_nodes():
        if not standard(node, node.op_type):
            continue
        for wrong in _WRONG:
            says = wrong(node)
            if says:
                raise TargetError(
                    f"MNN takes {node.op_type} and {says}",
                    where=f"part {part}, {node.outputs[0].name}",
                    todo="Write it in other operators in the model, or use --target cpu:onnxruntime",
                )


def _word(node: ir.Node, name: str, default: str = "") -> str:
    return node.attributes.get_string(name, default) or default


def _scatter(node: ir.Node) -> str:
    reduction = _word(node, "reduction", "none")
    if node.op_type not in {"ScatterElements", "ScatterND"} or reduction == "none":
        return ""
    return f"forgets its reduction: it stores what is to be combined by '{reduction}'"


def _ties(node: ir.Node) -> str:
    last = node.op_type in {"ArgMax", "ArgMin"} and node.attributes.get_int("select_last_index", 0) != 0
    return "forgets select_last_index: of equal values it chooses the first" if last else ""


def _mod(node: ir.Node) -> str:
    import onnx_ir as ir

    floating = node.op_type == "Mod" and node.outputs[0].dtype == ir.DataType.FLOAT
    return "gives the remainder the divisor's sign, not the dividend's (fmod)" if floating else ""


def _no_axes(node: ir.Node) -> str:
    if not node.op_type.startswith("Reduce") or not node.attributes.get_int("noop_with_empty_axes", 0):
        return ""
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    empty = len(node.inputs) == 1 or (axes is not None and not axes.size)
    return "reduces over everything where it should over nothing (noop_with_empty_axes)" if empty else ""


def _crop(node: ir.Node) -> str:
    sizes = constant(node.inputs[1]) if node.op_type == "Pad" and len(node.inputs) > 1 else None
    cut = sizes is not None and (sizes < 0).any()
    return "does not cut where a padding is negative" if cut else ""


def _resize(node: ir.Node) -> str:
    if node.op_type != "Resize":
        return ""
    if node.attributes.get_int("antialias", 0):
        return "forgets antialias"
    half = _word(node, "coordinate_transformation_mode", "half_pixel").endswith("half_pixel")
    return "places cubic samples elsewhere (half_pixel)" if half and _word(node, "mode") == "cubic" else ""


def _sample(node: ir.Node) -> str:
    if node.op_type != "GridSample":
        return ""
    if _word(node, "mode").endswith("cubic"):
        return "computes another interpolation than the cubic one"
    return "does not reflect at the border" if _word(node, "padding_mode") == "reflection" else ""


def _integers(node: ir.Node) -> str:
    import onnx_ir as ir

    whole = {ir.DataType.INT32, ir.DataType.INT64}
    product = node.op_type == "MatMul" and node.inputs[0] is not None and node.inputs[0].dtype in whole
    return "has products of matrices in floating point only, not of integers" if product else ""


def _volumes(node: ir.Node) -> str:
    if node.op_type not in {"Conv", *_POOLS} or node.inputs[0] is None or node.inputs[0].shape is None:
        return ""
    if len(node.inputs[0].shape) < _VOLUME:
        return ""
    return "crashes on volumes" if node.op_type in _POOLS else "computes nothing for volumes"


def _dilated(node: ir.Node) -> str:
    steps = node.attributes.get_ints("dilations", [1]) if node.op_type == "MaxPool" else [1]
    return "forgets its dilations" if any(step > 1 for step in steps or ()) else ""


def _lower(node: ir.Node) -> str:
    lower = node.op_type == "Conv" and _word(node, "auto_pad") == "SAME_LOWER"
    return "pads the other side (auto_pad SAME_LOWER)" if lower else ""


_WRONG: tuple[Callable[[ir.Node], str], ...] = (
    _scatter,
    _ties,
    _mod,
    _no_axes,
    _crop,
    _resize,
    _sample,
    _integers,
    _volumes,
    _dilated,
    _lower,
)
"""Each says what MNN does wrong with a node; nothing where it does not."""
