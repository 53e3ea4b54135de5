"""Percentiles and confidence intervals for latencies, which are skewed and have no normal law.

Everything here is distribution-free. The interval of the median is the one of order statistics:
with n independent samples the number below the true median is binomial(n, 1/2), hence

    P(x_(k) <= median <= x_(n+1-k)) >= 1 - 2 P(Bin(n, 1/2) <= k - 1),

and the largest k that keeps this above the confidence gives the interval (H. A. David and H. N.
Nagaraja, *Order Statistics*, 3rd edition, 2003, section 7.1). It is exact and needs no resampling.

Samples that were taken one after the other are not quite independent (a disturbance lasts for
several), so the interval of a single latency is somewhat narrow. Comparisons are therefore made of
ratios within one round, in which both sides saw the same disturbance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.95
P90_SAMPLES = 20
"""Fewest samples for a 90th percentile: two of them lie at or beyond it."""
P99_SAMPLES = 100
"""Fewest samples for a 99th percentile: with less it is only another name for the maximum."""


def quantile(samples: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation between order statistics (definition 7 of Hyndman and Fan, 1996).

    Args:
        samples: At least one, in any order.
        share: 0 to 1.
    """
    ordered = sorted(samples)
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two in the middle."""
    return quantile(samples, 0.5)


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Confidence interval of the median, or None when there are too few samples (6 at 95 %)."""
    rank = median_rank(len(samples), confidence)
    if rank == 0:
        return None
    ordered = sorted(samples)
    return ordered[rank - 1], ordered[-rank]


def median_rank(n: int, confidence: float = CONFIDENCE) -> int:
    """The largest k for which (x_(k), x_(n+1-k)) covers the median with `confidence`; 0 if none does."""
    tail = (1 - confidence) / 2
    # Probabilities further than 12 standard deviations (sqrt(n) / 2) from the middle add up to nothing.
    start = max(0, math.floor(n / 2 - 6 * math.sqrt(n)))
    below = 0.0
    for k in range(start, n // 2 + 1):
        below += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        if below > tail:
            return k
    return 0
