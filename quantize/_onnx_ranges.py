"""Ranges of activations from calibration samples, merged sample by sample.

`min-max` keeps the smallest and largest value ever seen. `mean` averages every sample's own extremes, which
a single unusual sample cannot stretch (the idea of ORT's moving average, without its dependence on order).
`middle`, halfway between the two, clips the rarest values for finer steps everywhere else: of the three it kept
the most of EfficientNet-Lite0's answers. All need a few numbers per tensor, whatever the number of samples and
their sizes.

A part with states has `min-max` unless something else is asked for (`FOR_STATES`). A sample of it is one moment of a
sequence: it holds few values, and the first moments, whose states are nearly zero, small ones. Its own extremes are
far from the sequence's, so that `middle` clips what is common, and what a state lost is lost for all calls behind it.

`percentile`, `entropy` and `mse` clip by how often values occur (`_onnx_thresholds`), from histograms of all samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgepack.quantize._onnx_histogram import histograms
from edgepack.quantize._onnx_observe import extremes, observe
from edgepack.quantize._onnx_thresholds import METHODS, entropy, mean_squared, percentile
from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize.base import Feeds

Merge = Literal["min-max", "mean", "middle"]
MERGES: tuple[Merge, ...] = ("min-max", "mean", "middle")
RANGES: tuple[str, ...] = (*MERGES, *METHODS)
PERCENT = 99.99
FOR_STATES = {"ranges": "min-max"}
"""Options for parts with states: better than `middle` for all 19 of the tiny zoo systems that were compared, in mean
cosine against fp32 over their own rollouts (a pointer network's decoder 0.998 in place of 0.977, a video step 0.993
in place of 0.988, a linear scan's step 0.997 in place of 0.990)."""


def clipped_ranges(
    path: Path,
    tensors: Sequence[str],
    samples: Iterable[Feeds],
    method: str,
    *,
    bits: int = 8,
    percent: float = PERCENT,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lowest and highest value of every tensor that is not clipped, as float32 scalars.

    Args:
        path: The float model.
        tensors: Names of its float activations.
        samples: Inputs of the model by name.
        method: "percentile", "entropy" or "mse".
        bits: Of the quantized activations.
        percent: How many values "percentile" keeps.

    Raises:
        UsageError: There is no sample, or one holds NaN.
        TargetError: The model does not run on a sample, or a tensor is not finite.
    """
    import numpy as np

    found = {}
    for name, histogram in histograms(path, tensors, samples).items():
        if method == "percentile":
            low, high = percentile(histogram, percent)
        elif method == "entropy":
            low, high = entropy(histogram, bits)
        else:
            low, high = mean_squared(histogram, bits)
        found[name] = (np.array(low, np.float32), np.array(high, np.float32))
    return found


def ranges(
    path: Path, tensors: Sequence[str], samples: Iterable[Feeds], merge: Merge = "middle"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lowest and highest value of every tensor, as float32 scalars.

    Args:
        path: The float model.
        tensors: Names of its float activations.
        samples: Inputs of the model by name.
        merge: How samples are merged.

    Raises:
        UsageError: There is no sample, or one holds NaN.
        TargetError: The model does not run on a sample, or a tensor is not finite.
    """
    import numpy as np

    widest: dict[str, np.ndarray] = {}
    average: dict[str, np.ndarray] = {}
    for count, seen in enumerate(observe(path, tensors, extremes, samples), 1):
        for name, value in seen.items():
            if count == 1:
                widest[name] = average[name] = value.astype(np.float64)
                continue
            wider = np.minimum if name.endswith(":min") else np.maximum
            widest[name] = wider(widest[name], value)
            average[name] = average[name] + (value - average[name]) / count
    share = {"min-max": 0.0, "middle": 0.5, "mean": 1.0}[merge]
    with np.errstate(invalid="ignore"):  # infinity times nothing, which is named below
        merged = {name: (1 - share) * widest[name] + share * average[name] for name in widest}
    broken = [name for name, value in merged.items() if not np.isfinite(value)]
    if broken:
        raise TargetError(
            f"The tensor '{broken[0].rpartition(':')[0]}' is not finite on the calibration data",
            where=str(path),
            todo="Look at the samples, and for a mask made of infinities in the model",
        )
    return {
        name: (np.float32(merged[f"{name}:min"]).reshape(()), np.float32(merged[f"{name}:max"]).reshape(()))
        for name in tensors
    }
