"""The intervals of the table of quality: they hold what they say, on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.quality.paired import accuracy_difference, perplexity_ratio


def test_the_difference_counts_what_changed():
    first = np.array([True] * 90 + [False] * 10)
    second = first.copy()
    second[:4], second[90] = False, True
    found = accuracy_difference(first, second)
    assert found.value == pytest.approx(-3.0)
    assert found.low < -3 < found.high
    assert accuracy_difference(second, first).value == pytest.approx(3.0)


def test_models_that_never_disagree_have_an_interval_all_the_same():
    same = np.ones(10_000, bool)
    found = accuracy_difference(same, same)
    assert found.value == 0
    assert -0.03 < found.low < 0 < found.high < 0.03


@pytest.mark.parametrize("points", [0.0, 0.2, 1.0])
def test_the_interval_of_accuracy_covers_the_truth(points):
    """1,000 pairs of models on 2,000 images: the second loses 0.5 % and `points`, and wins 0.5 %."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        u = rng.random(2000)
        first, second = u >= 0.105, (u < 0.005) | (u >= 0.11 + points / 100)
        found = accuracy_difference(first, second)
        covered += found.low <= -points <= found.high
    assert 0.93 <= covered / 1000 <= 0.98


def test_the_ratio_of_perplexities():
    rng = np.random.default_rng(0)
    first = rng.gamma(2.0, 1.5, (200, 96))
    assert perplexity_ratio(first, first) == (1.0, 1.0, 1.0)
    found = perplexity_ratio(first, first + np.log(1.05))
    assert found == pytest.approx((1.05, 1.05, 1.05))
    noisy = perplexity_ratio(first, first + rng.normal(0.01, 0.3, first.shape))
    assert noisy.low < np.exp(0.01) < noisy.high < 1.02
