"""The steps that every timing is made of: one timed call, warm-up until steady, the summary."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.runtime.statistics import P90_SAMPLES, P99_SAMPLES, median, median_interval, quantile

if TYPE_CHECKING:
    from edgepack.toolchain.results import Latency

Clock = Callable[[], int]
"""Nanoseconds from any fixed moment, never going back (`time.perf_counter_ns`)."""
Run = Callable[[], object]
"""One call of what is timed."""

WINDOW_RUNS = 5
WINDOW_MS = 20.0
STEADY = 0.05


@dataclass(frozen=True)
class WarmUp:
    """What happened before the first sample.

    Attributes:
        first_ms: The first call, which allocates and packs.
        runs: Calls after it.
        steady: Whether times had settled when it ended.
        typical_ms: Median of its last window.
    """

    first_ms: float
    runs: int
    steady: bool
    typical_ms: float


def timed_ms(run: Run, clock: Clock) -> float:
    """Milliseconds of one call; what the call returns is dropped after the clock was read."""
    start = clock()
    result = run()
    end = clock()
    del result
    return (end - start) / 1e6


def warm_up(run: Run, clock: Clock, limit_s: float) -> WarmUp:
    """Call until times have settled.

    The rule: calls are grouped into windows of at least 5 calls and 20 ms; times have settled when
    the medians of two windows in a row differ by at most 5 %. It ends unsettled, and says so, with
    the first call that ends after `limit_s` seconds. The first call belongs to no window.
    """
    first = timed_ms(run, clock)
    deadline = clock() + round(limit_s * 1e9)
    previous: float | None = None
    runs = 0
    while True:
        window: list[float] = []
        while len(window) < WINDOW_RUNS or sum(window) < WINDOW_MS:
            if clock() >= deadline:
                return WarmUp(first, runs, steady=False, typical_ms=median(window or [previous or first]))
            window.append(timed_ms(run, clock))
            runs += 1
        current = median(window)
        if previous is not None and abs(current - previous) <= STEADY * previous:
            return WarmUp(first, runs, steady=True, typical_ms=current)
        previous = current


def summarize(
    samples: Sequence[float],
    warm: WarmUp,
    *,
    threads: int,
    shapes: Mapping[str, Sequence[int]],
    load_ms: float | None,
    notes: Sequence[str] = (),
) -> Latency:
    """Median with its interval, and those percentiles for which there are enough samples."""
    from edgepack.toolchain.results import Latency

    interval = median_interval(samples)
    words = [*notes]
    if not warm.steady:
        words.insert(0, f"times had not settled after {warm.runs} calls of warm-up")
    return Latency(
        kind="measured",
        p50_ms=median(samples),
        p90_ms=quantile(samples, 0.9) if len(samples) >= P90_SAMPLES else None,
        p99_ms=quantile(samples, 0.99) if len(samples) >= P99_SAMPLES else None,
        ci_low_ms=interval[0] if interval else None,
        ci_high_ms=interval[1] if interval else None,
        samples=len(samples),
        first_run_ms=warm.first_ms,
        load_ms=load_ms,
        warmup_runs=warm.runs,
        steady=warm.steady,
        threads=threads,
        shapes={name: list(shape) for name, shape in shapes.items()},
        note="; ".join(words) or None,
    )


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's cyclic garbage collector runs before, not during, what is timed."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
