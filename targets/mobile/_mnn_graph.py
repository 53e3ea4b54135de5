"""An ONNX graph in the words that MNN's converter understands, and the operators that it takes and computes wrongly.

What is written otherwise here means the same in ONNX, so that the lowered file is still what ONNX Runtime computes:

    ScatterElements<reduction = "none", axis = a>  =  ScatterElements<axis = a>

"none" is what the operator does without the attribute. MNN 3.6.1 heeds the first attribute of a ScatterElements and no
other, and exporters write `reduction` first: every cache of a decoder was written along axis 0, and no word was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir

_SCATTERS = ("ScatterElements", "ScatterND")


def ready(model: ir.Model, part: str) -> None:
    """Change a graph in place: attributes that MNN misreads are left out where they say what is so without them.

    Args:
        model: Any graph.
        part: Its name, for the error.

    Raises:
        TargetError: An operator is in it that MNN converts and computes wrongly.
    """
    for node in model.graph.all_nodes():
        if standard(node, *_SCATTERS):
            _without_reduction(node, part)


def _without_reduction(node: ir.Node, part: str) -> None:
    reduction = node.attributes.get_string("reduction", "none")
    if reduction != "none":
        raise TargetError(
            f"MNN computes {node.op_type} without its reduction: it stores what is to be combined by '{reduction}'",
            where=f"part {part}, {node.outputs[0].name}",
            todo="Write distinct places only, or use --target cpu:onnxruntime for this model",
        )
    node.attributes.pop("reduction", None)
