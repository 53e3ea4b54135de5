"""Refuses models that are quantized already: rounding them once more would only lose accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.quantized import AS_GIVEN, already_quantized

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def refuse_quantized(model: onnx.ModelProto | ir.Model, part: str) -> None:
    """Raise TargetError when the model is quantized already."""
    found = already_quantized(model)
    if found:
        raise TargetError(
            f"The model is quantized already: it has {found}",
            where=f"part {part}",
            todo=f"Use --precision {AS_GIVEN}, which ships the file in its own precision, or start from the float "
            "model",
        )
