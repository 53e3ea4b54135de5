"""Timing with a clock that only moves when a test moves it: nothing here sleeps or is timed for real."""

from __future__ import annotations

import gc
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.runtime._timing_steps import warm_up
from edgepack.runtime.sessions.fake import FakeClock
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.runtime.timing import GIVE_UP_ROUNDS, MIN_ROUNDS, Timed, measure, measure_together, turn_order
from edgepack.toolchain.errors import UnknownNameError
from edgepack.toolchain.program import Signature

SHAPES = {"x": (1, 4)}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def noisy(median_ms: float, seed: int) -> Iterator[float]:
    """Log-normal times with that median and a spread of about 10 %."""
    source = random.Random(seed)  # noqa: S311 - no secret
    while True:
        yield median_ms * source.lognormvariate(0, 0.1)


def measured(clock: FakeClock, times: Iterator[float], **options: Any) -> Any:
    return measure(clock.takes(times), threads=2, shapes=SHAPES, clock=clock, **options)


def together(clock: FakeClock, times: Mapping[str, Iterator[float]], baseline: str, **options: Any) -> Timed:
    runs = {name: clock.takes(series) for name, series in times.items()}
    return measure_together(runs, baseline, threads=1, shapes=SHAPES, clock=clock, **options)


# --- one alone


def test_percentiles_of_a_known_distribution(clock: FakeClock) -> None:
    latency = measured(clock, noisy(5, 0), min_samples=20_000, max_seconds=1e6, load_ms=7)
    assert latency.p50_ms == pytest.approx(5, rel=0.01)
    assert latency.p90_ms == pytest.approx(5 * 1.1367, rel=0.01)  # exp(0.1 * 1.2816)
    assert latency.p99_ms == pytest.approx(5 * 1.2619, rel=0.02)  # exp(0.1 * 2.3263)
    assert latency.ci_low_ms < 5 < latency.ci_high_ms
    assert latency.ci_high_ms - latency.ci_low_ms < 0.05
    assert (latency.kind, latency.samples, latency.threads) == ("measured", 20_000, 2)
    assert latency.shapes == {"x": [1, 4]}
    assert latency.load_ms == 7
    assert latency.note is None


def test_the_first_run_and_the_warm_up_are_no_samples(clock: FakeClock) -> None:
    slow_start = [500.0, *[40.0] * 5, *[20.0] * 5, *[10.0] * 10]
    latency = measured(clock, itertools.chain(slow_start, itertools.repeat(11.0)))
    assert latency.first_run_ms == 500
    # Windows of five at 40, 20, 10 and 10: settled after the fourth.
    assert latency.warmup_runs == 20
    assert latency.steady is True
    assert latency.p50_ms == latency.p99_ms == 11


def test_fast_calls_fill_a_window_of_20_ms(clock: FakeClock) -> None:
    warm = warm_up(clock.takes(itertools.repeat(0.5)), clock, limit_s=10)
    assert warm.runs == 80
    assert warm.steady


def test_times_that_never_settle(clock: FakeClock) -> None:
    growing = (10 * 1.05**n for n in itertools.count())
    latency = measured(clock, growing, max_seconds=4)
    assert latency.steady is False
    assert "not settled" in latency.note


def test_both_minimum_count_and_minimum_time_are_kept(clock: FakeClock) -> None:
    assert measured(clock, itertools.repeat(100.0)).samples == 100
    assert measured(clock, itertools.repeat(1.0)).samples == 1000


def test_the_limit_bounds_slow_calls(clock: FakeClock) -> None:
    latency = measured(clock, itertools.repeat(1000.0), max_seconds=20)
    # A second for the first call, 20 for the rest, of which 5 may go into the warm-up.
    assert clock.ns == 21_000_000_000
    assert latency.warmup_runs == 5
    assert latency.steady is False
    assert latency.samples == 15
    assert latency.ci_low_ms == latency.ci_high_ms == 1000
    assert latency.p90_ms is None
    assert latency.p99_ms is None
    assert "limit of 20 s" in latency.note


def test_a_call_longer_than_the_limit_still_gives_a_sample(clock: FakeClock) -> None:
    latency = measured(clock, itertools.repeat(60_000.0), max_seconds=20)
    assert latency.samples == 1
    assert latency.p50_ms == 60_000
    assert latency.ci_low_ms is None


@pytest.mark.parametrize(
    ("samples", "p90", "p99"), [(19, False, False), (20, True, False), (99, True, False), (100, True, True)]
)
def test_percentiles_need_enough_samples(clock: FakeClock, samples: int, p90: bool, p99: bool) -> None:
    latency = measured(clock, itertools.repeat(100.0), min_samples=samples)
    assert (latency.p90_ms is not None, latency.p99_ms is not None) == (p90, p99)


def test_the_garbage_collector_is_off_meanwhile_and_back_afterwards(clock: FakeClock) -> None:
    seen = set()

    def run() -> None:
        seen.add(gc.isenabled())
        clock.advance_ms(50)
        if len(calls := clock_calls) > 30:
            raise KeyboardInterrupt
        calls.append(None)

    clock_calls: list[None] = []
    assert gc.isenabled()
    with pytest.raises(KeyboardInterrupt):
        measure(run, threads=1, shapes=SHAPES, clock=clock)
    assert seen == {False}
    assert gc.isenabled()


# --- several in turn


def test_a_real_session(model_file: Path, signature: Signature, x: np.ndarray) -> None:
    """Real clock, real runtime; only what holds on any machine is asked."""
    with OnnxRuntimeSession(model_file, signature) as session:
        runs = {name: lambda: session.run({"x": x}) for name in ("one", "other")}
        timed = measure_together(runs, "one", threads=1, shapes={"x": x.shape}, min_seconds=0)
    latency: Any
    for latency in timed.latencies.values():
        assert latency.samples >= 100
        assert 0 < latency.ci_low_ms <= latency.p50_ms <= latency.ci_high_ms
        assert latency.p50_ms <= latency.p90_ms <= latency.p99_ms
        assert latency.shapes == {"x": [3, 256]}
    comparison = timed.comparisons["other"]
    assert comparison.ci_low <= comparison.ratio <= comparison.ci_high
    assert comparison.rounds >= MIN_ROUNDS


def test_who_is_faster_who_is_slower_and_who_is_the_same(clock: FakeClock) -> None:
    times = {"base": noisy(10, 1), "twin": noisy(10, 2), "fast": noisy(8, 3), "slow": noisy(12, 4)}
    timed = together(clock, times, "base")
    verdicts = {name: comparison.verdict for name, comparison in timed.comparisons.items()}
    assert verdicts == {"twin": "can't tell", "fast": "faster", "slow": "slower"}
    fast = timed.comparisons["fast"]
    assert fast.baseline == "base"
    assert fast.ci_low < 10 / 8 < fast.ci_high
    assert fast.ratio == pytest.approx(1.25, rel=0.05)
    assert fast.rounds >= MIN_ROUNDS
    assert all(latency.samples >= 100 and latency.p99_ms for latency in timed.latencies.values())
    assert timed.latencies["fast"].p50_ms == pytest.approx(8, rel=0.05)
    # Any two can be compared, and both ways agree.
    ratio = timed.compare("fast", "slow")
    assert (ratio.verdict, ratio.baseline) == ("faster", "slow")
    assert timed.compare("slow", "fast").ratio == pytest.approx(1 / ratio.ratio, rel=0.01)


def test_a_drifting_machine_does_not_hide_a_small_difference(clock: FakeClock) -> None:
    """Everything gets three times slower in the course of the run; the candidate is 5 % faster throughout."""

    def drifting(share: float) -> Callable[[], None]:
        return lambda: clock.advance_ms(10 * share * (1 + clock.ns / 2e9))

    timed = measure_together(
        {"base": drifting(1.0), "candidate": drifting(0.95)}, "base", threads=1, shapes=SHAPES, clock=clock
    )
    comparison = timed.comparisons["candidate"]
    assert comparison.verdict == "faster"
    assert comparison.ratio == pytest.approx(1 / 0.95, rel=0.02)
    # Their latencies alone would not show it: the intervals overlap.
    base: Any = timed.latencies["base"]
    candidate: Any = timed.latencies["candidate"]
    assert base.ci_low_ms < candidate.ci_high_ms


def test_a_tiny_difference_is_not_called_one(clock: FakeClock) -> None:
    times = {"base": itertools.repeat(10.0), "candidate": itertools.repeat(9.95)}
    comparison = together(clock, times, "base").comparisons["candidate"]
    assert comparison.ci_low == comparison.ci_high == pytest.approx(10 / 9.95)
    assert comparison.verdict == "can't tell"


def test_equals_are_rarely_called_different() -> None:
    """At most 5 % by the interval's confidence; 20 trials with fixed seeds."""
    verdicts: Counter[str] = Counter()
    for trial in range(20):
        times = {"base": noisy(30, 2 * trial), "twin": noisy(30, 2 * trial + 1)}
        verdicts[together(FakeClock(), times, "base", min_seconds=0).comparisons["twin"].verdict] += 1
    assert verdicts["can't tell"] >= 18


def test_a_clearly_slower_candidate_stops_early(clock: FakeClock) -> None:
    times = {"base": noisy(10, 1), "dynamic": noisy(100, 2), "fast": noisy(5, 3)}
    timed = together(clock, times, "base")
    slow: Any = timed.latencies["dynamic"]
    assert timed.comparisons["dynamic"].rounds == GIVE_UP_ROUNDS
    assert timed.comparisons["dynamic"].verdict == "slower"
    assert timed.comparisons["dynamic"].ratio == pytest.approx(0.1, rel=0.1)
    assert "stopped after 8 rounds: at least 1.5 times slower than base in each" in slow.note
    assert slow.p99_ms is None
    assert timed.comparisons["fast"].rounds >= MIN_ROUNDS
    assert timed.latencies["fast"].note is None
    # The others' rounds are not paid for by it: 11 and 8 calls of warm-up, 32 of its own.
    assert clock.ns / 1e9 < 9


def test_nobody_stops_early_when_told_so(clock: FakeClock) -> None:
    times = {"base": noisy(1, 1), "slow": noisy(10, 2)}
    timed = together(clock, times, "base", give_up_ratio=None)
    assert len(timed.rounds["slow"]) == len(timed.rounds["base"]) >= MIN_ROUNDS
    assert timed.latencies["slow"].note is None


def test_the_limit_ends_rounds(clock: FakeClock) -> None:
    times = {"base": itertools.repeat(2000.0), "fast": itertools.repeat(1000.0)}
    timed = together(clock, times, "base", max_seconds=30)
    comparison = timed.comparisons["fast"]
    assert comparison.rounds == 10
    assert comparison.verdict == "faster"
    assert "limit of 30 s" in str(timed.latencies["base"].note)


def test_too_few_rounds_give_no_verdict(clock: FakeClock) -> None:
    times = {"base": itertools.cycle([20_000.0, 22_000.0]), "fast": itertools.repeat(10_000.0)}
    comparison = together(clock, times, "base", max_seconds=60).comparisons["fast"]
    assert comparison.rounds == 2
    assert comparison.verdict == "can't tell"
    assert (comparison.ci_low, comparison.ci_high) == (2.0, 2.2)


def test_an_unknown_baseline(clock: FakeClock) -> None:
    with pytest.raises(UnknownNameError, match=r"'fp23'.*'fp32'"):
        together(clock, {"fp32": itertools.repeat(1.0)}, "fp23")


def test_the_baseline_alone(clock: FakeClock) -> None:
    timed = together(clock, {"fp32": noisy(3, 0)}, "fp32")
    assert timed.comparisons == {}
    assert timed.latencies["fp32"].samples >= 100


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_turns_give_everyone_every_place_and_both_neighbours(count: int) -> None:
    names = list("abcde"[:count])
    orders = [turn_order(names, number) for number in range(2 * count)]
    assert all(sorted(order) == names for order in orders)
    for place in range(count):
        assert Counter(order[place] for order in orders) == dict.fromkeys(names, 2)
    after = Counter(pair for order in orders for pair in itertools.pairwise(order))
    assert all(after[a, b] == after[b, a] for a, b in after)


def test_blocks_open_with_an_uncounted_call(clock: FakeClock) -> None:
    """The first call after the neighbour's takes 3 ms more, for its caches are cold."""
    last = ""

    def caller(name: str) -> Callable[[], None]:
        def run() -> None:
            nonlocal last
            clock.advance_ms(5 if last == name else 8)
            last = name

        return run

    timed = measure_together(
        {name: caller(name) for name in "ab"}, "a", threads=1, shapes=SHAPES, clock=clock, min_seconds=2
    )
    assert timed.latencies["a"].p99_ms == 5
