"""Evens out the channels of an activation before it is quantized.

One scale serves a whole activation tensor. A transformer's activations have a few channels in which single
tokens are ten times larger than anything else; they take the levels away from all others. Dividing channels
by factors f and multiplying the rows of the weight by them changes nothing in exact arithmetic
(Xiao et al. 2022, SmoothQuant, arXiv:2211.10438, equation 3):

    x W = (x / f) (f W)

with peak_j the largest |x_j| over the calibration samples, either

    leveled:   f_j = max(1, peak_j / quantile_97(peak))
    smooth:    f_j = peak_j^a / max |W_j|^(1 - a)                  (equation 4; W_j the rows j of all products of x)

Smoothing balances every channel against its weights; leveling only brings the outliers down to the rest, which left
sentence embeddings closer to the float model's and does not depend on a choice of the exponent a.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_observe import abs_peak_per_channel, observe

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize.base import Feeds

QUANTILE = 0.97
"""Channels above this share of all are outliers and are brought down to it."""

MIN_GAIN = 2.0
"""An activation is left alone unless leveling makes its range smaller at least by this factor (one bit)."""

_SMALLEST = 1e-5  # and its reciprocal bound the factors of smoothing, as in its authors' code

MAX_SAMPLES = 32
"""Peaks settle quickly: no more samples than these are run."""


def channel_peaks(path: Path, widths: Mapping[str, int], samples: Iterable[Feeds]) -> dict[str, np.ndarray]:
    """The largest magnitude of every channel, float32 of shape [channels], of every tensor.

    Args:
        path: The float model.
        widths: Names of activations, and how many channels their last axis has.
        samples: Inputs of the model by name; the first `MAX_SAMPLES` are used.

    Raises:
        UsageError: There is no sample, or one holds NaN.
        TargetError: The model does not run on a sample.
    """
    from itertools import islice

    import numpy as np

    peaks: dict[str, np.ndarray] = {}
    for seen in observe(path, widths, abs_peak_per_channel(widths), islice(samples, MAX_SAMPLES)):
        peaks = {name: np.maximum(peaks[name], now) if peaks else now for name, now in seen.items()}
    return peaks


def leveling(peaks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Factors f, float32 of shape [channels], of those tensors that gain by leveling."""
    factors = {name: factors_of(peak) for name, peak in peaks.items()}
    return {name: values for name, values in factors.items() if values is not None}


def smoothing(peak: np.ndarray, weights: Iterable[np.ndarray], exponent: float) -> np.ndarray | None:
    """SmoothQuant's factors, float32 of shape [channels]; None when a peak is not finite.

    A channel that is always zero, or that no weight reads, keeps its factor 1.

    Args:
        peak: Largest magnitude of every channel.
        weights: The weights [channels, outputs] of all products of the activation.
        exponent: a, from 0 (all the difficulty stays with the activation) to 1 (all goes to the weights).
    """
    import numpy as np

    rows = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    if not (np.isfinite(peak).all() and np.isfinite(rows).all()):
        return None
    used = (peak > 0) & (rows > 0)
    large, other = np.where(used, peak, 1).astype(np.float64), np.where(used, rows, 1).astype(np.float64)
    factors = np.where(used, large**exponent / other ** (1 - exponent), 1)
    return np.clip(factors, _SMALLEST, 1 / _SMALLEST).astype(np.float32)


def factors_of(peak: np.ndarray) -> np.ndarray | None:
    """Factors from the peaks of all channels, or None when the range would not shrink by `MIN_GAIN`."""
    import numpy as np

    if not np.isfinite(peak).all():
        return None
    level = float(np.quantile(peak, QUANTILE))
    if level <= 0 or float(peak.max()) < MIN_GAIN * level:
        return None
    return np.maximum(1.0, peak / level).astype(np.float32)
