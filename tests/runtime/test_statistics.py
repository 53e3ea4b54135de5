"""The statistics against distributions whose quantiles are known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from edgepack.runtime.statistics import median, median_interval, median_rank, quantile


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
def test_quantile_agrees_with_numpy(n: int, share: float) -> None:
    samples = np.random.default_rng(n).lognormal(size=n)
    assert quantile(samples.tolist(), share) == pytest.approx(np.quantile(samples, share))


def test_quantiles_of_an_exponential_distribution() -> None:
    samples = np.random.default_rng(0).exponential(size=200_000).tolist()
    assert median(samples) == pytest.approx(math.log(2), rel=0.01)
    assert quantile(samples, 0.99) == pytest.approx(math.log(100), rel=0.02)


@pytest.mark.parametrize("n", [1, 5, 6, 7, 8, 9, 20, 50, 100, 1000])
def test_rank_is_the_largest_that_covers(n: int) -> None:
    def coverage(k: int) -> float:
        return float(1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n)

    rank = median_rank(n)
    assert rank == 0 or coverage(rank) >= 0.95
    assert coverage(rank + 1) < 0.95
    assert (rank == 0) == (n < 6)


def test_ranks_in_published_tables() -> None:
    # Conover, Practical Nonparametric Statistics: sign-test limits at 95 %.
    assert [median_rank(n) for n in (6, 10, 15, 20, 25, 30)] == [1, 2, 4, 6, 8, 10]


def test_large_numbers_follow_the_normal_approximation() -> None:
    n = 1_000_000
    assert median_rank(n) == pytest.approx(n / 2 - 1.96 * math.sqrt(n) / 2, abs=2)


@pytest.mark.parametrize("n", [8, 30, 101])
def test_interval_covers_the_median_of_a_skewed_distribution(n: int) -> None:
    """The true median of a standard log-normal is 1. Discreteness makes the coverage exceed 95 %."""
    random.seed(n)
    trials = 3000
    hits = 0
    for _ in range(trials):
        low, high = median_interval([random.lognormvariate(0, 1) for _ in range(n)]) or (math.inf, 0)
        hits += low <= 1 <= high
    k = median_rank(n)
    exact = 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n
    # Four standard errors of a proportion near 0.95 from 3000 trials.
    assert hits / trials == pytest.approx(exact, abs=0.016)


def test_too_few_samples_give_no_interval() -> None:
    assert median_interval([1.0] * 5) is None
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)
