"""Forms that a target's own compiler rounds: the float file goes on, under the precision that is to come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Options
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered

_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})


@quantizers.register("by-compiler")
class ByCompiler(Quantizer):
    """Weights that the target's compiler rounds."""

    format = "onnx"
    static = False

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write the ONNX file into `folder`; `changed_nodes` counts the layers whose weights will be rounded.

        Args:
            lowered: The float model, in ONNX.
            precision: What the compiler is to make of it.
            data: Not used.
            folder: Where to write.
            options: None.

        Raises:
            TargetError: The model is quantized already, or has no layer with constant weights.
        """
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        del data
        Options.of(options, "by-compiler", f"part {lowered.part}")
        model = ir.load(lowered.path)
        refuse_quantized(model, lowered.part)
        changed = sum(
            any(value is not None and value.const_value is not None for value in node.inputs[1:2])
            for node in model.graph.all_nodes()
            if node.op_type in _PRODUCTS
        )
        if not changed:
            raise TargetError(
                f"Quantizing to {precision} changed no operator of the model",
                where=f"part {lowered.part}",
                todo="Use --precision fp32: the model has no product or convolution with constant weights",
            )
        return lowered.quantized(save(model, folder, lowered.part), precision, changed)
