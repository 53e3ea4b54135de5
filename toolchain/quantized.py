"""Recognises models that are quantized already.

There is no float model to judge such a file by: it is held against itself, run with every optimization off
(`pipeline.as_written`). A runtime computes it with integer kernels, which round where the file as written does
not: results differ by single levels of its 8-bit tensors, and `parity.QUANTIZED_GATE` leaves room for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.native_operators import DOMAIN

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

AS_GIVEN = "as-given"
"""The precision of a model that came quantized and is shipped so."""

QUANTIZED_NOTE = "the model is quantized already"
"""What the source's note on such a model begins with; the pipeline makes it a warning."""

_OPS = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
        *("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm", "QAttention"),
        *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"),
        *("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "MatMulFpQ4"),
    }
)


def already_quantized(model: onnx.ModelProto | ir.Model) -> str | None:
    """What shows that a model is quantized, in words ("12 QuantizeLinear, 3 MatMulNBits"), or None.

    Subgraphs and functions are looked into.

    Args:
        model: As protobuf or in onnx_ir's form; weights are not read.
    """
    from collections import Counter

    import onnx
    import onnx_ir as ir

    if isinstance(model, onnx.ModelProto):
        model = ir.serde.deserialize_model(model)
    names = [node.op_type for node in model.graph.all_nodes()]
    # A native operator's function computes with integers what the operator does: that is no rounding.
    functions = [function for function in model.functions.values() if function.domain != DOMAIN]
    names += [node.op_type for function in functions for node in function.all_nodes()]
    counts = Counter(name for name in names if name in _OPS or name.startswith("QLinear"))
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or None
