"""A graph in the newest operator set that rknn-toolkit2 loads.

Nothing is approximated: a version number is written over another where no operator of the graph is defined otherwise,
operators that came later are written out by ONNX's own definition of them (Gelu), and the rest is left to ONNX's
converter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError, TargetError
from edgepack.toolchain.vendors.rknn import NEWEST_OPSET

if TYPE_CHECKING:
    import onnx_ir as ir


def older(model: ir.Model, part: str) -> ir.Model:
    """The model itself where it is old enough, else one in operator set `NEWEST_OPSET`.

    Raises:
        TargetError: An operator cannot be said in that version; it is named.
    """
    if model.graph.opset_imports.get("", 0) <= NEWEST_OPSET:
        return model
    import onnx_ir

    from edgepack.toolchain import opsets

    # In memory: what is made anew does not know beside which file the weights lay.
    proto = onnx_ir.serde.serialize_model(onnx_ir.external_data.load_to_model(model))
    later = opsets.restamp(proto, "", NEWEST_OPSET)
    if later and opsets.expand(proto, [("", name) for name in later]):
        later = opsets.restamp(proto, "", NEWEST_OPSET)
    if later:
        try:
            proto = opsets.convert(proto, NEWEST_OPSET)
        except SourceError as error:
            raise TargetError(
                f"rknn-toolkit2 loads operator sets up to {NEWEST_OPSET}, and {', '.join(later)} is of a newer one",
                where=f"part {part}",
                todo=f"Export the model again with operator set {NEWEST_OPSET} or older",
            ) from error
    made = onnx_ir.serde.deserialize_model(proto)
    _uncast(made)
    return made


def _uncast(model: ir.Model) -> int:
    """Drop conversions of a tensor to the type that it has, as a definition written for all types is full of.

    The toolkit knows Gelu by the five operators that it is made of, and runs it on the NPU when it finds them alone.
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
