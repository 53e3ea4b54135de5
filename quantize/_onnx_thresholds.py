"""Ranges from histograms: what to clip so that the rest has finer steps.

Levels n = 2^bits are spread evenly over [a, b]; values outside are clipped to it.

- percentile p: the range that keeps p percent of the values, half of the rest cut off at either end;
- entropy: the symmetric threshold t of least Kullback-Leibler divergence between the values clipped to [-t, t] and
  the same after they were merged into n levels, sum P log(P / Q) (Migacz, 8-bit inference with TensorRT, GTC 2017);
- mse: a and b of the least mean squared error sum c (x - Q(x))^2 over bins x of count c, found by shrinking both ends
  together in 80 steps, then each on its own.

A range never leaves what was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edgepack.quantize._onnx_histogram import HALF

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize._onnx_histogram import Histogram

Method = Literal["percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = ("percentile", "entropy", "mse")

_CANDIDATES = 128  # thresholds that entropy tries
_SHRINKS = 80  # steps from the whole range down to a fifth of it
_SMALLEST = 0.2


def percentile(histogram: Histogram, percent: float) -> tuple[float, float]:
    """The range that keeps `percent` of the values, to within a bin."""
    import numpy as np

    total = np.cumsum(histogram.counts)
    tail = (1 - percent / 100) / 2 * total[-1]
    first = int(np.searchsorted(total, tail, side="right"))
    last = int(np.searchsorted(total, total[-1] - tail, side="left"))
    low, high = (first - HALF) * histogram.width, (last + 1 - HALF) * histogram.width
    return _within(histogram, low, high)


def entropy(histogram: Histogram, bits: int = 8) -> tuple[float, float]:
    """The range of the threshold of least divergence."""
    import numpy as np

    if not histogram.reach:
        return _within(histogram, 0.0, 0.0)
    occupied = np.flatnonzero(histogram.counts)
    first, last = int(occupied[0]), int(occupied[-1]) + 1
    furthest = max(HALF - first, last - HALF)
    levels = 1 << bits
    least, best = float("inf"), furthest
    for reach in np.unique(np.linspace(min(levels, furthest), furthest, _CANDIDATES).astype(int)):
        start, stop = max(HALF - reach, first), min(HALF + reach, last)
        if stop <= start:
            continue
        divergence = _divergence(histogram.counts, start, stop, levels)
        if divergence < least:
            least, best = divergence, int(reach)
    return _within(histogram, -best * histogram.width, best * histogram.width)


def _divergence(counts: np.ndarray, start: int, stop: int, levels: int) -> float:
    """KL divergence between bins start..stop with all others clipped into them, and their merged form."""
    import numpy as np

    inside = counts[start:stop]
    clipped = inside.copy()
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[stop:].sum()
    level = np.arange(stop - start) * levels // (stop - start)
    used = clipped > 0
    sums = np.bincount(level, weights=inside, minlength=levels)
    members = np.bincount(level, weights=used, minlength=levels)
    merged = np.where(used, sums[level] / np.maximum(members[level], 1), 0)
    if not merged.sum():
        return float("inf")
    p, q = clipped[used] / clipped.sum(), merged[used] / merged.sum()
    # An end bin that only clipping fills has no share in the merged form: a tiny one keeps the sum finite.
    return float((p * np.log(p / np.maximum(q, 1e-12))).sum())


def mean_squared(histogram: Histogram, bits: int = 8) -> tuple[float, float]:
    """The range of the least mean squared error of quantization."""
    import numpy as np

    used = histogram.counts > 0
    values = np.clip(histogram.centers[used], histogram.low, histogram.high)
    counts = histogram.counts[used]
    whole = (min(histogram.low, 0.0), max(histogram.high, 0.0))

    def cost(low: float, high: float) -> float:
        step = (high - low) / ((1 << bits) - 1)
        if step <= 0:
            return float("inf")
        levels = np.rint(np.clip(values, low, high) / step)
        return float((counts * (values - levels * step) ** 2).sum())

    shrinks = np.linspace(1, _SMALLEST, _SHRINKS)
    both = min(shrinks, key=lambda s: cost(s * whole[0], s * whole[1]))
    low, high = both * whole[0], both * whole[1]
    low = whole[0] * min(shrinks, key=lambda s: cost(s * whole[0], high))
    high = whole[1] * min(shrinks, key=lambda s: cost(low, s * whole[1]))
    return _within(histogram, low, high)


def _within(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    low, high = max(low, histogram.low), min(high, histogram.high)
    return (low, high) if low <= high else (histogram.low, histogram.high)
