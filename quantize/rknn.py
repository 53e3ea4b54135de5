"""`rknn`: rknn-toolkit2 quantizes by itself, with edgepack's calibration data.

The toolkit chooses types, scales and places together with its compiler, and does both in one step. What is made here is
what that step takes: the float model, its channels smoothed on request, and the samples, under names that stay beside
it. Nothing is rounded yet; the compiler's table of layers says in the end which computed in which type, and one with no
layer of the type asked for is an error there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgepack.quantize._calibrating import required
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_smooth import Smooth, check_smooth, smooth_model
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Options
from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose multiplications the NPU does with integers."""

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
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        where = f"part {lowered.part}"
        asked = RknnOptions.of(options, "rknn", where)
        data = required(data, precision, lowered.part)
        model = ir.load(lowered.path)
        refuse_quantized(model, lowered.part)
        count = sum(node.op_type in PRODUCTS for node in model.graph)
        if not count:
            raise TargetError(
                "There is no convolution and no matrix product to quantize",
                where=where,
                todo="Use --precision fp16, or another target",
            )
        smooth = check_smooth(asked.smooth, data, lowered.part)
        notes = [] if smooth is None else [smooth_model(model, lowered.path, data, smooth, lowered.part)]
        path = save(model, folder, lowered.part)
        _write_samples(model, data, folder / SAMPLES_FILE)
        config = {
            "dtype": DTYPES[precision],
            "config": {"quantized_algorithm": asked.algorithm, "quantized_method": asked.method},
        }
        (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        done = (
            f"by rknn-toolkit2 as {DTYPES[precision]}, weights per {asked.method}, ranges by {asked.algorithm} over "
            f"{len(data.samples)} samples"
        )
        return lowered.quantized(path, precision, count, done, *notes)


SAMPLES_FILE = "samples.npz"
CONFIG_FILE = "config.json"


def _write_samples(model: ir.Model, data: CalibrationData, path: Path) -> None:
    """One array [samples, *shape] an input, in the model's order, under numpy's own names: an input may have any."""
    import numpy as np

    names = [str(value.name) for value in model.graph.inputs]
    columns = [np.stack([np.asarray(sample[name]) for sample in data]) for name in names]
    np.savez(path, *columns)
