"""`k230`: nncase quantizes by itself, with edgepack's calibration data.

nncase chooses types, scales and places together with its compiler, and does all of it in one step. The KPU multiplies
by weights of 8 bits; activations have 8 or 16. Weights of 16 bits with activations of 16 leave every product on the
CPU (2.11.0), without a word, and are not offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgepack.quantize._onnx_smooth import Smooth
from edgepack.quantize._with_compiler import hand_over
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Options

if TYPE_CHECKING:
    from edgepack.toolchain.program import Lowered

ACTIVATIONS = {"int8-static": "uint8", "int16x8-static": "int16"}
"""nncase's name of a precision's activations (`quant_type` of its `PTQTensorOptions`)."""
_RANGES = {"extremes": "NoClip", "divergence": "Kld"}


class K230Options(Options):
    """What quantization by nncase can be told."""

    ranges: Literal["extremes", "divergence"] = Field(
        "extremes", description="how nncase finds ranges: extremes, or least divergence of histograms"
    )
    weights: Literal["uint8", "int8"] = Field("uint8", description="type of weights")
    smooth: Smooth | None = Field(
        None, description="exponent of SmoothQuant from 0 to 1, or levelling of outliers only"
    )


@quantizers.register("k230")
class K230(Quantizer):
    """The float model with samples, which nncase quantizes when it compiles."""

    format = "onnx"
    static = True
    options_type = K230Options

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx`, `samples.npz` and `config.json` into `folder`.

        Args:
            lowered: The float model, all dimensions numbers.
            precision: One of `ACTIVATIONS`.
            data: Samples that fix the ranges.
            folder: Where to write.
            options: Those of `K230Options`.

        Raises:
            UsageError: No calibration data.
            TargetError: The model is quantized already, or has nothing that multiplies.
        """
        asked = K230Options.of(options, "k230", f"part {lowered.part}")
        activations = ACTIVATIONS[precision]
        return hand_over(
            lowered,
            precision,
            data,
            folder,
            config={
                "quant_type": activations,
                "w_quant_type": asked.weights,
                "calibrate_method": _RANGES[asked.ranges],
            },
            smooth=asked.smooth,
            instead="Use another target: without a product the KPU has nothing to do",
            how=f"by nncase, activations as {activations}, weights as {asked.weights}, ranges by {asked.ranges}",
        )
