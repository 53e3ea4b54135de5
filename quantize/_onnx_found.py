"""Recognises models that are quantized already: rounding them once more would only lose accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

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
    names += [node.op_type for function in model.functions.values() for node in function.all_nodes()]
    counts = Counter(name for name in names if name in _OPS or name.startswith("QLinear"))
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or None


def refuse_quantized(model: onnx.ModelProto | ir.Model, part: str) -> None:
    """Raise TargetError when the model is quantized already."""
    found = already_quantized(model)
    if found:
        raise TargetError(
            f"The model is quantized already: it has {found}",
            where=f"part {part}",
            todo="Use --precision fp32, which keeps the file's own precision, or start from the float model",
        )
