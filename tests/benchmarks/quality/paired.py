"""Differences between two models on the same data, with 95 % confidence intervals.

Accuracy. Of n images b are right with the first model only, and c with the second only:

    d = (c - b) / n,    d' +- 1.96 sqrt(b' + c' - (c' - b')^2 / n') / n'

with b' = b + 1/2, c' = c + 1/2, n' = n + 2 and d' = (c' - b') / n' (Agresti and Min 2005), which holds its level
where the two hardly ever disagree.

Perplexity. Of windows of text w with the negative log-likelihoods x_w and y_w of m tokens each:

    ratio = exp( sum(y_w - x_w) / (m windows) )

with the percentiles of the same number over windows drawn with replacement (the paired bootstrap).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_Z95 = 1.959964
_DRAWS = 4000


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def accuracy_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Points (percent) by which the second is better.

    Args:
        first: bool [n], whether the first model was right.
        second: bool [n], whether the second was, on the same images.
    """
    n = len(first)
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    b, c, m = lost + 0.5, won + 0.5, n + 2
    middle, reach = (c - b) / m, _Z95 * math.sqrt(b + c - (c - b) ** 2 / m) / m
    return Estimate(100 * (won - lost) / n, 100 * (middle - reach), 100 * (middle + reach))


def perplexity_ratio(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The second model's perplexity over the first's.

    Args:
        first: Negative log-likelihoods in nats, float64 [windows, tokens].
        second: The second model's, of the same tokens.
    """
    worse = (second - first).mean(1)
    draws = np.random.default_rng(0).integers(0, len(worse), (_DRAWS, len(worse)))
    low, high = np.percentile(worse[draws].mean(1), (2.5, 97.5))
    return Estimate(*(float(np.exp(value)) for value in (worse.mean(), low, high)))
