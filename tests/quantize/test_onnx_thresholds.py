"""Streamed histograms are those of all values at once; ranges from them are those of the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from edgepack.quantize._onnx_histogram import HALF, Histogram
from edgepack.quantize._onnx_thresholds import entropy, mean_squared, percentile


def chunks(kind: str) -> list[np.ndarray]:
    """Samples that grow in range, one of them constant."""
    rng = np.random.default_rng(0)
    made = [rng.standard_t(3, size=(4, 500 * i)) * i for i in range(1, 8)]
    made.append(np.zeros((2, 3)))
    if kind == "positive":
        made = [np.maximum(values, 0) for values in made]
    if kind == "shifted":
        made = [values / 50 + 3 for values in made]
    return [values.astype(np.float32) for values in made]


def streamed(values: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for chunk in values:
        histogram.add(chunk)
    return histogram


KINDS = pytest.mark.parametrize("kind", ["both", "positive", "shifted"])


@KINDS
def test_counts_are_those_of_all_values_at_once(kind):
    values = chunks(kind)
    histogram = streamed(values)
    everything = np.concatenate([v.ravel() for v in values]).astype(np.float64)
    assert (histogram.low, histogram.high) == (everything.min(), everything.max())
    assert histogram.reach / 2 < np.abs(everything).max() <= histogram.reach
    edges = np.linspace(-histogram.reach, histogram.reach, 2 * HALF + 1)
    np.testing.assert_array_equal(histogram.counts, np.histogram(everything, edges)[0])


@KINDS
@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentiles_are_within_a_bin_of_numpys(kind, percent):
    values = chunks(kind)
    histogram = streamed(values)
    tail = (100 - percent) / 2
    exact = np.percentile(
        np.concatenate([v.ravel() for v in values]), [tail, 100 - tail], method="inverted_cdf"
    )
    np.testing.assert_allclose(percentile(histogram, percent), exact, atol=2 * histogram.width)


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    return float(np.square(values - np.rint(np.clip(values, low, high) / step) * step).sum())


@KINDS
def test_mse_is_as_good_as_a_search_on_the_values(kind):
    values = chunks(kind)
    everything = np.concatenate([v.ravel() for v in values]).astype(np.float64)
    low, high = min(everything.min(), 0), max(everything.max(), 0)
    grid = np.linspace(1, 0.2, 33)
    best = min(squared_error(everything, a * low, b * high) for a in grid for b in grid if a * low < b * high)
    found = mean_squared(streamed(values))
    got = squared_error(everything, min(found[0], 0), max(found[1], 0))
    assert got <= 1.03 * best
    assert got < squared_error(everything, low, high) or kind == "shifted"


def divergence(values: np.ndarray, reach: float, edges: np.ndarray) -> float:
    """KL of clipping to [-reach, reach] and merging into 256 levels, bin by bin and value by value."""
    inside = np.histogram(values[np.abs(values) < reach], edges)[0].astype(float)
    clipped = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], 0)), edges)[0].astype(float)
    merged = np.zeros_like(inside)
    count = len(inside)
    for level in range(256):
        members = [i for i in range(count) if i * 256 // count == level and clipped[i]]
        for i in members:
            merged[i] = sum(inside[j] for j in range(count) if j * 256 // count == level) / len(members)
    used = clipped > 0
    p, q = clipped[used] / clipped.sum(), merged[used] / merged.sum()
    return float((p * np.log(p / np.maximum(q, 1e-12))).sum())


def test_entropy_takes_the_threshold_of_least_divergence():
    values = np.concatenate([v.ravel() for v in chunks("both")]).astype(np.float64)
    histogram = streamed(chunks("both"))
    low, high = entropy(histogram)
    assert high < 0.9 * min(histogram.high, -histogram.low)  # the heavy tails are clipped
    assert low == -high

    def at(bins: int) -> float:
        reach = bins * histogram.width
        return divergence(values, reach, np.linspace(-reach, reach, 2 * bins + 1))

    chosen = round(high / histogram.width)
    assert at(chosen) <= min(at(round(chosen * factor)) for factor in (0.6, 1.4))


def test_entropy_keeps_what_has_no_tails():
    histogram = streamed([np.linspace(-1, 1, 20_000, dtype=np.float32)])
    assert entropy(histogram)[1] > 0.95


@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_a_constant_tensor_has_the_range_of_its_value(value):
    histogram = streamed([np.full((2, 4), value, np.float32)] * 2)
    for low, high in (percentile(histogram, 99.99), entropy(histogram), mean_squared(histogram)):
        assert low <= high
        assert min(low, 0) <= value <= max(high, 0)


def test_an_empty_sample_changes_nothing():
    histogram = streamed([np.ones((2, 2), np.float32), np.ones((0, 2), np.float32)])
    assert histogram.counts.sum() == 4
    assert histogram.low == 1


def test_the_largest_floats_still_fit():
    histogram = streamed([np.array([-3.4e38, 0, 1], np.float32)])
    assert histogram.counts.sum() == 3
    assert mean_squared(histogram)[0] < -1e37
