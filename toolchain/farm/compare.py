r"""Is a figure worse than the last good one?

    worse    p50 > (1 + t) p50'  and  low > high'      or  peak > (1 + t) peak'
    faster   p50 < p50' / (1 + t)  and  high < low'

and on an emulated board, which has no times, with the counted instructions n

    worse    n > (1 + t) n'                               faster   n < n' / (1 + t)

with the 95 % intervals [low, high] of the medians and the tolerance t. Both are asked for: the interval says
that the two medians differ, the tolerance that it matters; two days of one device differ by more than the
samples of one run show. Without an interval (few samples) the tolerance alone decides.

A worse figure is no good one, so that the next run is held against the same; the first is good by itself.
"""

from __future__ import annotations

from edgepack.toolchain.farm.results import FarmResult
from edgepack.toolchain.report import text


def judged(now: FarmResult, good: FarmResult | None, tolerance: float) -> FarmResult:
    """The figure with its verdict.

    Args:
        now: Measured, or failed.
        good: The last good one of the same key, if there is one.
        tolerance: 0.1 is a tenth.
    """
    if good is None:
        verdict = "no figure" if now.error else "first"
        why = "there is no good run to compare with"
        return now.model_copy(update={"verdict": verdict, "why": why})
    before = {
        "before_ms": good.p50_ms,
        "before_instructions": good.instructions,
        "before_created": good.created,
    }
    if now.error:
        return now.model_copy(update={**before, "verdict": "failed", "why": f"it ran on {good.created}"})
    verdict, why = _verdict(now, good, tolerance)
    return now.model_copy(update={**before, "verdict": verdict, "why": why})


def _verdict(now: FarmResult, good: FarmResult, tolerance: float) -> tuple[str, str]:
    if now.peak_bytes and good.peak_bytes and now.peak_bytes > (1 + tolerance) * good.peak_bytes:
        return "worse", f"peak memory {text.size(now.peak_bytes)} after {text.size(good.peak_bytes)}"
    if now.instructions is not None and good.instructions:
        return _counted(now.instructions / good.instructions, good.created, tolerance)
    if now.p50_ms is None or not good.p50_ms:
        return "same", "no median to compare"
    ratio = now.p50_ms / good.p50_ms
    said = f"{text.ratio(ratio)} the time of {good.created}"
    slower, faster = _apart(good, now), _apart(now, good)
    if ratio > 1 + tolerance and slower:
        return "worse", said
    if ratio < 1 / (1 + tolerance) and faster:
        return "faster", said
    return "same", said


def _counted(ratio: float, before: str, tolerance: float) -> tuple[str, str]:
    """Instructions repeat: there is no interval to ask."""
    said = f"{text.ratio(ratio)} the instructions of {before}"
    if ratio > 1 + tolerance:
        return "worse", said
    return ("faster", said) if ratio < 1 / (1 + tolerance) else ("same", said)


def _apart(small: FarmResult, large: FarmResult) -> bool:
    """Whether the intervals of two medians do not meet, the first below; true where one is not known."""
    if small.ci_high_ms is None or large.ci_low_ms is None:
        return True
    return small.ci_high_ms < large.ci_low_ms
