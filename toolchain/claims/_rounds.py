"""Generations, or single calls, of several models in turn, round by round, and what their ratios say.

One generation of the longest output gives every shorter one as well: the time of the first token, and the time
until the n-th for any n. The ratio of a round is other / claimed of times within that round, in which both saw
the same machine; the figure is the median of the rounds with the interval of order statistics
(`runtime/statistics.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from edgepack.runtime._timing_steps import without_collector
from edgepack.runtime.statistics import median, median_interval
from edgepack.runtime.timing import turn_order
from edgepack.toolchain.claims.results import Value

Generate = Callable[[Callable[[int], object]], object]
"""One generation; calls back at every token."""
Clock = Callable[[], int]
LEAST_MS = 20.0


def token_times_ms(
    runs: Mapping[str, Generate], rounds: int, clock: Clock = time.perf_counter_ns
) -> dict[str, list[list[float]]]:
    """Milliseconds from the start to every token, by model and round.

    Args:
        runs: One generation of each; every model ran before, so that memory is allocated.
        rounds: At least 1.
        clock: Nanoseconds; tests put their own.
    """
    found: dict[str, list[list[float]]] = {name: [] for name in runs}
    with without_collector():
        for number in range(rounds):
            for name in turn_order(list(runs), number):
                times: list[int] = []
                begin = clock()
                # Bound now: the closure is called within this turn only.
                runs[name](lambda _, seen=times: seen.append(clock()))  # type: ignore[misc]
                found[name].append([(moment - begin) / 1e6 for moment in times])
    return found


def values(times: Mapping[str, Sequence[Sequence[float]]], outputs: Sequence[int]) -> list[Value]:
    """First-token latency, throughput of every output length, and the rate after the first token.

    Args:
        times: From `token_times_ms`, the claimed side first.
        outputs: Output lengths, none longer than what was generated.
    """
    found = [_value("first-token latency", "ms", "lower", {}, times, lambda round_: round_[0])]
    for count in outputs:
        per_token = _value(
            "throughput", "tokens/s", "higher", {"output": count}, times,
            lambda round_, n=count: 1e3 * n / round_[n - 1],  # type: ignore[misc]
        )  # fmt: skip
        found.append(per_token)
    longest = max(outputs)
    if longest > 1:

        def rate(round_: Sequence[float]) -> float:
            return 1e3 * (longest - 1) / (round_[longest - 1] - round_[0])

        found.append(_value("decoding rate", "tokens/s", "higher", {"output": longest}, times, rate))
    return found


def call_times_ms(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Clock = time.perf_counter_ns,
    least_ms: float = LEAST_MS,
) -> dict[str, list[float]]:
    """Milliseconds of one call, by side and round; what is short is called until it is not.

    Args:
        runs: One call of each; every side ran before, so that memory is allocated.
        rounds: At least 1.
        clock: Nanoseconds; tests put their own.
        least_ms: A round's least time of a side, over which its calls are averaged.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    with without_collector():
        for number in range(rounds):
            for name in turn_order(list(runs), number):
                count, begin, spent = 0, clock(), 0.0
                while spent < least_ms:
                    runs[name]()
                    count += 1
                    spent = (clock() - begin) / 1e6
                found[name].append(spent / count)
    return found


def compared(
    name: str,
    unit: str,
    better: Literal["lower", "higher"],
    sides: Mapping[str, Sequence[float]],
    at: Mapping[str, int] | None = None,
) -> Value:
    """One quantity of both sides, the claimed one first, by rounds: medians, and the ratio within rounds."""
    claimed, other = sides.values()
    pairs = zip(claimed, other, strict=True)
    ratios = [theirs / mine if better == "lower" else mine / theirs for mine, theirs in pairs]
    low, high = median_interval(ratios) or (None, None)
    return Value(
        name=name, unit=unit, better=better, at=dict(at or {}),
        medians={side: median(samples) for side, samples in sides.items()},
        ratio=median(ratios), ci_low=low, ci_high=high, rounds=len(ratios),
    )  # fmt: skip


def _value(
    name: str,
    unit: str,
    better: Literal["lower", "higher"],
    at: dict[str, int],
    times: Mapping[str, Sequence[Sequence[float]]],
    figure: Callable[[Sequence[float]], float],
) -> Value:
    sides = {side: [figure(round_) for round_ in rounds] for side, rounds in times.items()}
    return compared(name, unit, better, sides, at)
