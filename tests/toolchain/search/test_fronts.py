"""Fronts, hypervolumes and rank correlations, against counting and scipy."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from edgepack.toolchain.search.fronts import dominates, front, hypervolume, spearman


def test_dominance():
    assert dominates((1, 2, 3), (1, 2, 4))
    assert not dominates((1, 2, 3), (1, 2, 3))
    assert not dominates((0, 5, 0), (1, 1, 1))


def test_front():
    points = [(1, 5, 1), (2, 2, 2), (2, 2, 2), (3, 3, 3), (5, 1, 1)]
    assert front(points) == [0, 1, 4], "of equal points the first"
    assert front([]) == []


def test_hypervolume_of_whole_cells_is_their_number():
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 12):
        points = rng.integers(0, 8, (count, 3))
        cells = sum(
            any((cell >= point).all() for point in points)
            for cell in map(np.array, itertools.product(range(8), repeat=3))
        )
        assert hypervolume(points.tolist(), (8, 8, 8)) == pytest.approx(cells)


def test_points_beyond_the_reference_count_nothing():
    assert hypervolume([(1, 1, 9)], (2, 2, 2)) == 0
    assert hypervolume([(1, 1, 1), (0, 0, 5)], (2, 2, 2)) == 1
    assert hypervolume([], (1, 1, 1)) == 0


def test_spearman():
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = rng.integers(0, 6, (2, 20)).astype(float)
        assert spearman(a.tolist(), b.tolist()) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
