"""What is handed to a compiler that quantizes by itself: the float model, samples, and what it is told.

    <part>.onnx     the float model, its channels smoothed on request
    samples.npz     one array [samples, *shape] an input, in the model's order, under numpy's own names
    config.json     whatever the compiler is told

Nothing is rounded yet. What the compiler made of it shows in what it placed, and in the numbers that come out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.quantize._calibrating import required
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_smooth import check_smooth, smooth_model
from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.quantize.base import CalibrationData
    from edgepack.toolchain.program import Lowered

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose multiplications an NPU does with integers."""
SAMPLES_FILE = "samples.npz"
CONFIG_FILE = "config.json"


def hand_over(
    lowered: Lowered,
    precision: str,
    data: CalibrationData | None,
    folder: Path,
    *,
    config: Mapping[str, Any],
    smooth: float | str | None,
    instead: str,
    how: str,
) -> Lowered:
    """Write the three files into `folder`.

    Args:
        lowered: The float model, all dimensions numbers.
        precision: What the compiler is to make of it.
        data: Samples that fix the ranges.
        folder: Where to write.
        config: What the compiler is told.
        smooth: Exponent of SmoothQuant or what to smooth; None: nothing.
        instead: What to do with a model that has nothing to quantize.
        how: What will be done, for the report; the count of samples is added.

    Raises:
        UsageError: No calibration data.
        TargetError: The model is quantized already, or has nothing that multiplies.
    """
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    data = required(data, precision, lowered.part)
    model = ir.load(lowered.path)
    refuse_quantized(model, lowered.part)
    count = sum(node.op_type in PRODUCTS for node in model.graph)
    if not count:
        raise TargetError(
            "There is no convolution and no matrix product to quantize",
            where=f"part {lowered.part}",
            todo=instead,
        )
    asked = check_smooth(smooth, data, lowered.part)
    notes = [] if asked is None else [smooth_model(model, lowered.path, data, asked, lowered.part)]
    path = save(model, folder, lowered.part)
    _write_samples(model, data, folder / SAMPLES_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(dict(config)), encoding="utf-8")
    return lowered.quantized(path, precision, count, f"{how} over {len(data.samples)} samples", *notes)


def _write_samples(model: ir.Model, data: CalibrationData, path: Path) -> None:
    """One array [samples, *shape] an input; under numbers, for an input may have any name."""
    import numpy as np

    names = [str(value.name) for value in model.graph.inputs]
    np.savez(path, *(np.stack([np.asarray(sample[name]) for sample in data]) for name in names))
