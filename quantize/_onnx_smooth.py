"""SmoothQuant (`_onnx_channels`) for a whole graph: the factors of all products, and the float model they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgepack.quantize._onnx_channels import channel_peaks, leveling, smoothing
from edgepack.quantize._onnx_layers import Linear, linears
from edgepack.quantize._onnx_scaling import scale_inputs
from edgepack.quantize.options import Share
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize.base import CalibrationData


OUTLIERS: Literal["outliers"] = "outliers"
"""In the place of an exponent: outlier channels are leveled, all others left as they are."""

Smooth = Share | Literal["outliers"]
"""An exponent of SmoothQuant, or `OUTLIERS`."""


def check_smooth(smooth: float | str | None, data: CalibrationData | None, part: str) -> float | str | None:
    """The exponent, or `OUTLIERS`, or None, as it was given.

    Raises:
        UsageError: There is no calibration data to go by.
    """
    if smooth is None:
        return None
    if data is None:
        raise UsageError(
            "Smoothing needs calibration data", where=f"part {part}", todo="Give it with --calibration"
        )
    return smooth


def smooth_factors(
    groups: Mapping[ir.Value, list[Linear]], peaks: Mapping[str, np.ndarray], smooth: float | str
) -> dict[str, np.ndarray]:
    """Factors by the activation's name, of the products in `groups`; weights are read one group at a time."""
    if isinstance(smooth, str):
        return leveling(peaks)
    found = {}
    for value, group in groups.items():
        weights = [linear.oriented(array(linear.weight)) for linear in group]
        factors = smoothing(peaks[str(value.name)], weights, smooth)
        if factors is not None:
            found[str(value.name)] = factors
    return found


def smooth_note(smooth: float | str, count: int, total: int) -> str:
    """What was done to how many of all activations, in words."""
    how = "outlier channels leveled" if smooth == OUTLIERS else f"channels smoothed (exponent {smooth})"
    return f"{how} in {count} of {total} activations"


def smooth_model(model: ir.Model, path: Path, data: CalibrationData, smooth: float | str, part: str) -> str:
    """Smooth the inputs of matrix products with constant weights; returns what was done, in words.

    Args:
        model: The float model, which goes on computing the same; changed in place.
        path: Its file, which the samples are run through.
        data: Samples.
        smooth: Exponent of SmoothQuant, or `OUTLIERS`.
        part: Named in errors.

    Raises:
        TargetError: There is no such product, or the model does not run on a sample.
    """
    groups = linears(model.graph)
    if not groups:
        raise TargetError(
            "There is no matrix product with a large constant float32 matrix to smooth",
            where=f"part {part}",
            todo="Leave smoothing out",
        )
    widths = {str(value.name): group[0].inputs for value, group in groups.items()}
    factors = smooth_factors(groups, channel_peaks(path, widths, data.samples), smooth)
    for value, group in groups.items():
        found = factors.get(str(value.name))
        if found is not None:
            scale_inputs(model.graph, value, group, found)
    return smooth_note(smooth, len(factors), len(groups))
