"""A graph in the newest operator set that a vendor's compiler loads, without operators that it does not know.

Nothing is approximated: a version number is written over another where no operator of the graph is defined otherwise,
operators that came later, or that the compiler lacks, are written out by ONNX's own definition of them (Gelu), and the
rest is left to ONNX's converter.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError, TargetError
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def older(model: ir.Model, part: str, newest: int, tool: str, lacks: Collection[str] = ()) -> ir.Model:
    """The model itself where it is old enough, else one in operator set `newest`.

    Args:
        model: May be changed.
        part: Its name, for messages.
        newest: Newest version of the standard operators that the compiler loads.
        tool: The compiler, for messages.
        lacks: Standard operators of any version that it does not know; written out where ONNX defines them in terms of
            others, left where it does not.

    Raises:
        TargetError: An operator cannot be said in that version; it is named.
    """
    unknown = [("", name) for name in lacks if any(standard(node, name) for node in model.graph)]
    if model.graph.opset_imports.get("", 0) <= newest and not unknown:
        return model
    import onnx_ir

    from edgepack.toolchain import opsets

    # In memory: what is made anew does not know beside which file the weights lay.
    proto = onnx_ir.serde.serialize_model(onnx_ir.external_data.load_to_model(model))
    if unknown:
        opsets.expand(proto, unknown)
    if opsets.standard_version(proto) > newest:
        proto = _restamped(proto, part, newest, tool)
    made = onnx_ir.serde.deserialize_model(proto)
    _uncast(made)
    return made


def _restamped(proto: onnx.ModelProto, part: str, newest: int, tool: str) -> onnx.ModelProto:
    from edgepack.toolchain import opsets

    later = opsets.restamp(proto, "", newest)
    if later and opsets.expand(proto, [("", name) for name in later]):
        later = opsets.restamp(proto, "", newest)
    if not later:
        return proto
    try:
        return opsets.convert(proto, newest)
    except SourceError as error:
        raise TargetError(
            f"{tool} loads operator sets up to {newest}, and {', '.join(later)} is of a newer one",
            where=f"part {part}",
            todo=f"Export the model again with operator set {newest} or older",
        ) from error


def _uncast(model: ir.Model) -> int:
    """Drop conversions of a tensor to the type that it has, as a definition written for all types is full of.

    rknn-toolkit2 knows Gelu by the five operators that it is made of, and runs it on the NPU when it finds them alone.
    """
    import onnx_ir

    from edgepack.toolchain.passes.clean_up import clean_up

    clean_up(model)  # which infers types
    count = 0
    for node in list(model.graph):
        if node.op_type != "CastLike":
            continue
        value, like = node.inputs
        if value is not None and like is not None and value.dtype is not None and value.dtype == like.dtype:
            onnx_ir.convenience.replace_all_uses_with(node.outputs[0], value, replace_graph_outputs=True)
            model.graph.remove(node, safe=True)
            count += 1
    clean_up(model)
    return count
