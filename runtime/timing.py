"""How long one call takes, alone or against others.

`measure` times one callable. `measure_together` times several in turn in one process and says, for
each, whether it is faster than the baseline, slower, or that one can't tell: a machine's speed
drifts by more than what often separates two artifacts, and two that take turns drift together.

A round gives every participant one block of calls. The order rotates and is reversed every other
round, so that nobody always follows the same neighbour. A block opens with one call that is not
counted, since the neighbour left its own data in the caches; then come at least 3 calls and 10 ms
(at most 50 calls). Calls of 250 ms or more come singly, without that opening: what a cache holds
is refilled in a fraction of that. The ratio of a round is the baseline's median block time over
the participant's; the comparison is the median of these ratios with its 95 % interval.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgepack.runtime._timing_steps import (
    Clock,
    Run,
    WarmUp,
    summarize,
    timed_ms,
    warm_up,
    without_collector,
)
from edgepack.runtime.statistics import P99_SAMPLES, median, median_interval
from edgepack.toolchain.errors import UnknownNameError
from edgepack.toolchain.results import Comparison, Latency, Verdict

MIN_ROUNDS = 30
GIVE_UP_ROUNDS = 8
MARGIN = 0.01
"""Ratios closer to 1 than this count as equal: two loads of one file differ by where their memory lies."""

_WARM_UP_SHARE = 0.25  # of max_seconds
_BLOCK_RUNS, _BLOCK_MS, _LONGEST_BLOCK = 3, 10.0, 50
_SLOW_MS = 250.0


def measure(
    run: Run,
    *,
    threads: int,
    shapes: Mapping[str, Sequence[int]],
    load_ms: float | None = None,
    min_samples: int = P99_SAMPLES,
    min_seconds: float = 1.0,
    max_seconds: float = 20.0,
    clock: Clock = time.perf_counter_ns,
) -> Latency:
    """Time one callable: first call, warm-up until steady, then samples.

    Sampling ends when there are `min_samples` and `min_seconds` have passed, or when `max_seconds`
    have passed since the first call, warm-up included; then the note says so. There is always one
    sample. The 90th percentile is given from 20 samples on, the 99th from 100, the interval of the
    median from 6; below that they are None.

    Args:
        run: One call; its return value is dropped.
        threads: Recorded.
        shapes: Input shapes, recorded.
        load_ms: Milliseconds that loading took, recorded.
        min_samples: Fewest samples wanted.
        min_seconds: Shortest sampling time wanted.
        max_seconds: After this no further call starts.
        clock: Nanoseconds; tests put their own.
    """
    with without_collector():
        start = clock()
        warm = warm_up(run, clock, max_seconds * _WARM_UP_SHARE)
        deadline = start + round((warm.first_ms + max_seconds * 1e3) * 1e6)
        began = clock()
        samples = [timed_ms(run, clock)]
        notes = []
        while len(samples) < min_samples or clock() - began < min_seconds * 1e9:
            if clock() >= deadline:
                notes.append(f"stopped at the limit of {max_seconds:g} s")
                break
            samples.append(timed_ms(run, clock))
    return summarize(samples, warm, threads=threads, shapes=shapes, load_ms=load_ms, notes=notes)


@dataclass(frozen=True)
class Timed:
    """What `measure_together` found.

    Attributes:
        latencies: Of every participant.
        comparisons: Of every participant but the baseline, with the baseline.
        rounds: Median milliseconds of every participant's block, round by round; a participant
            that was stopped has fewer.
    """

    latencies: dict[str, Latency]
    comparisons: dict[str, Comparison]
    rounds: dict[str, tuple[float, ...]]

    def compare(self, candidate: str, baseline: str) -> Comparison:
        """Any two of them, over the rounds in which both took part."""
        return _comparison(self.rounds[candidate], baseline, self.rounds[baseline])


@dataclass
class _Participant:
    run: Run
    warm: WarmUp
    samples: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take_turn(self, clock: Clock) -> None:
        length = 1
        if self.warm.typical_ms < _SLOW_MS:
            self.run()
            wanted = math.ceil(_BLOCK_MS / max(self.warm.typical_ms, 1e-6))
            length = min(max(_BLOCK_RUNS, wanted), _LONGEST_BLOCK)
        block = [timed_ms(self.run, clock) for _ in range(length)]
        self.samples += block
        self.rounds.append(median(block))


def measure_together(  # noqa: PLR0913 - options of one call, all by keyword
    runs: Mapping[str, Run],
    baseline: str,
    *,
    threads: int,
    shapes: Mapping[str, Sequence[int]],
    load_ms: Mapping[str, float] | None = None,
    min_samples: int = P99_SAMPLES,
    min_seconds: float = 1.0,
    max_seconds: float = 30.0,
    give_up_ratio: float | None = 1.5,
    clock: Clock = time.perf_counter_ns,
) -> Timed:
    """Time several callables in turn, and compare each with the baseline.

    Rounds go on until there are 30 of them, every participant has `min_samples`, and `min_seconds`
    have passed; or until `max_seconds` have passed since the first round began (warm-up takes at
    most a quarter of that again; a round that has begun is finished).

    A candidate that was at least `give_up_ratio` times slower than the baseline in every one of its
    first 8 rounds stops there and its note says so. Were it no slower than that, this would happen
    with a probability of at most 2^-8.

    With fewer than 6 rounds there is no interval: the two ends are then the smallest and largest
    ratio, and the verdict is "can't tell".

    Args:
        runs: One call of each, by name.
        baseline: Name of the one that the others are compared with.
        threads: Recorded.
        shapes: Input shapes, recorded.
        load_ms: Milliseconds that loading each took, recorded.
        min_samples: Fewest samples wanted of each.
        min_seconds: Shortest time of all rounds together.
        max_seconds: After this no further round begins.
        give_up_ratio: See above; None keeps everybody to the end.
        clock: Nanoseconds; tests put their own.

    Raises:
        UnknownNameError: The baseline is not among the runs.
    """
    if baseline not in runs:
        raise UnknownNameError("baseline", baseline, runs)
    with without_collector():
        limit = max_seconds * _WARM_UP_SHARE / len(runs)
        everyone = {name: _Participant(run, warm_up(run, clock, limit)) for name, run in runs.items()}
        active = dict(everyone)
        began = clock()
        done = 0
        while not _enough(active, done, min_samples) or clock() - began < min_seconds * 1e9:
            if done and clock() - began >= max_seconds * 1e9:
                for participant in active.values():
                    participant.notes.append(f"stopped at the limit of {max_seconds:g} s")
                break
            for name in turn_order(list(active), done):
                active[name].take_turn(clock)
            done += 1
            if give_up_ratio is not None and done == GIVE_UP_ROUNDS:
                _give_up(active, baseline, give_up_ratio)
    latencies = {
        name: summarize(
            participant.samples,
            participant.warm,
            threads=threads,
            shapes=shapes,
            load_ms=(load_ms or {}).get(name),
            notes=participant.notes,
        )
        for name, participant in everyone.items()
    }
    rounds = {name: tuple(participant.rounds) for name, participant in everyone.items()}
    comparisons = {
        name: _comparison(own, baseline, rounds[baseline]) for name, own in rounds.items() if name != baseline
    }
    return Timed(latencies, comparisons, rounds)


def turn_order(names: list[str], number: int) -> list[str]:
    """Who runs when in round `number`: the start moves on every second round, every other one is reversed."""
    shift = (number // 2) % len(names)
    order = names[shift:] + names[:shift]
    return order[::-1] if number % 2 else order


def _enough(active: Mapping[str, _Participant], done: int, min_samples: int) -> bool:
    return done >= MIN_ROUNDS and all(len(p.samples) >= min_samples for p in active.values())


def _give_up(active: dict[str, _Participant], baseline: str, ratio: float) -> None:
    reference = active[baseline].rounds
    for name in [name for name in active if name != baseline]:
        own = active[name].rounds
        if all(mine >= ratio * theirs for mine, theirs in zip(own, reference, strict=True)):
            active[name].notes.append(
                f"stopped after {len(own)} rounds: at least {ratio:g} times slower than {baseline} in each"
            )
            del active[name]


def _comparison(own: Sequence[float], baseline: str, reference: Sequence[float]) -> Comparison:
    # A clock too coarse for the call may give 0.
    ratios = [max(theirs, 1e-6) / max(mine, 1e-6) for mine, theirs in zip(own, reference, strict=False)]
    interval = median_interval(ratios)
    low, high = interval or (min(ratios), max(ratios))
    verdict: Verdict = "can't tell"
    if interval and low > 1 + MARGIN:
        verdict = "faster"
    elif interval and high < 1 / (1 + MARGIN):
        verdict = "slower"
    return Comparison(
        baseline=baseline, ratio=median(ratios), ci_low=low, ci_high=high, rounds=len(ratios), verdict=verdict
    )
