"""`rknn`: rknn-toolkit2 quantizes by itself, with edgepack's calibration data.

The toolkit chooses types, scales and places together with its compiler, and does both in one step. What is made here is
what that step takes: the float model, its channels smoothed on request, and the samples, under names that stay beside
it. Nothing is rounded yet; the compiler's table of layers says in the end which computed in which type, and one with no
layer of the type asked for is an error there.
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

DTYPES = {"int8-static": "w8a8", "int16-static": "w16a16i_dfp"}
"""The toolkit's name of a precision (`quantized_dtype` of its `config`)."""


class RknnOptions(Options):
    """What quantization by rknn-toolkit2 can be told."""

    algorithm: Literal["normal", "kl_divergence", "mmse"] = Field(
        "normal",
        description="how the toolkit finds ranges: extremes, divergence of histograms, or least squared error, which "
        "takes much longer",
    )
    method: Literal["channel", "layer"] = Field(
        "channel", description="what has a scale of its own in weights"
    )
    smooth: Smooth | None = Field(
        None, description="exponent of SmoothQuant from 0 to 1, or levelling of outliers only"
    )


@quantizers.register("rknn")
class Rknn(Quantizer):
    """The float model with samples, which rknn-toolkit2 quantizes when it compiles."""

    format = "onnx"
    static = True
    options_type = RknnOptions

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx`, `samples.npz` and `config.json` into `folder`.

        Args:
            lowered: The float model, all dimensions numbers.
            precision: One of `DTYPES`.
            data: Samples that fix the ranges.
            folder: Where to write.
            options: Those of `RknnOptions`.

        Raises:
            UsageError: No calibration data.
            TargetError: The model is quantized already, or has nothing that multiplies.
        """
        asked = RknnOptions.of(options, "rknn", f"part {lowered.part}")
        dtype = DTYPES[precision]
        return hand_over(
            lowered,
            precision,
            data,
            folder,
            config={
                "dtype": dtype,
                "config": {"quantized_algorithm": asked.algorithm, "quantized_method": asked.method},
            },
            smooth=asked.smooth,
            instead="Use --precision fp16, or another target",
            how=f"by rknn-toolkit2 as {dtype}, weights per {asked.method}, ranges by {asked.algorithm}",
        )
