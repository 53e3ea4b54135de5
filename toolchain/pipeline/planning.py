"""The planner: which precisions are built, and which of those that pass is shipped.

Fastest wins among those that pass their gate. A quantized form must be measurably faster than fp32 on
the same runtime, or fp32 is shipped. Where this machine cannot time the target, the larger share of
operators on the accelerator wins, then the vendor's estimate: an estimate leaves out what stays on the
CPU, so it cannot be compared between different shares.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgepack.targets.base import Offer, Target
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.quantized import AS_GIVEN
from edgepack.toolchain.results import CandidateResult, Comparison, Placement


def selected(target: Target, offers: Sequence[Offer], precision: str) -> list[Offer]:
    """The offers that a recipe's precision asks for; those not worth building stay, with their reason.

    Raises:
        TargetError: The target has no such precision; other targets of the run go on.
    """
    if precision == "auto" or target.any_precision:
        return list(offers)
    as_given = [offer for offer in offers if offer.precision == AS_GIVEN]
    if precision == "fp32" and as_given:
        # As near as can be: nothing of this run's makes the model less precise.
        return as_given
    chosen = [
        # Asked for by its own name, an offer is built even where the planner would not.
        Offer(offer.precision, offer.quantizer, offer.options) if offer.precision == precision else offer
        for offer in offers
        if offer.precision == precision or (precision == "int8" and offer.precision.startswith("int8"))
    ]
    if not chosen:
        why = "" if target.float_precision else "; it has no floating-point kernels"
        raise TargetError(
            f"{target.name} offers no {precision}{why}",
            where=target.name,
            todo=f"Use --precision auto, or one of: {', '.join(offer.precision for offer in offers)}",
        )
    if all(offer.not_built for offer in chosen):
        raise TargetError(
            f"{target.name} builds no {precision} of this model: {chosen[0].not_built}",
            where=target.name,
            todo="Use --precision auto",
        )
    return chosen


def baseline(candidates: Sequence[Candidate]) -> str:
    """Precision that the others are compared with: fp32 where it is there, else the first."""
    names = [candidate.offer.precision for candidate in candidates]
    return "fp32" if "fp32" in names else names[0]


def choose(passed: Sequence[Candidate], comparisons: dict[str, Comparison]) -> tuple[Candidate, str]:
    """The candidate to ship among those that passed, and why in words."""
    if len(passed) == 1:
        return passed[0], "the only one that passed its gate"
    if not passed[0].target.runs_here:
        best = max(passed, key=lambda c: (_share(c), -p50(c)))
        return best, f"largest share on the accelerator ({_share(best):.0%}) among those that passed"
    if any(candidate.latency is None for candidate in passed):
        # A form that nobody timed may well be slower than fp32.
        return _unquantized(passed), "nothing was timed, so nothing is known to be faster than fp32"
    by_time = sorted(passed, key=p50)
    for candidate in by_time:
        comparison = comparisons.get(candidate.offer.precision)
        if comparison is None:
            return candidate, "the fastest that passed"
        if comparison.verdict == "faster":
            return candidate, f"{comparison.ratio:.2f}x as fast as {comparison.baseline} and within its gate"
    # Nobody beat the baseline measurably; it may itself have failed its gate.
    return _unquantized(by_time), "nothing that passed is measurably faster than fp32"


def _unquantized(passed: Sequence[Candidate]) -> Candidate:
    """The float form, or the first where there is none."""
    return next((candidate for candidate in passed if candidate.offer.quantizer is None), passed[0])


def p50(candidate: Candidate) -> float:
    """Median latency in milliseconds; infinite for what was not timed."""
    return candidate.latency.p50_ms if candidate.latency else float("inf")


def _share(candidate: Candidate) -> float:
    placement = candidate.compiled.placement if candidate.compiled else Placement(accelerator=0, cpu=0)
    return placement.accelerator / max(1, placement.accelerator + placement.cpu)


def result(
    candidate: Candidate,
    part: str,
    chosen: Candidate | None,
    why: str,
    comparison: Comparison | None,
    size: int | None,
) -> CandidateResult:
    """The planner's line for a candidate."""
    target, offer = candidate.target, candidate.offer
    if candidate is chosen:
        outcome, words = "chosen", why
    elif candidate.error is not None:
        outcome, words = "failed", str(candidate.error)
    elif candidate.parity is None:
        outcome, words = "not-built", offer.not_built or "not asked for"
    elif not candidate.parity.passed:
        outcome, words = "failed-gate", "; ".join(candidate.parity.failed)
    else:
        outcome, words = "slower", _slower(candidate, chosen, comparison)
    return CandidateResult.model_validate(
        {
            "target": target.name,
            "part": part,
            "precision": offer.precision,
            "outcome": outcome,
            "why": words,
            "size_bytes": size,
            "parity": candidate.parity,
            "latency": candidate.latency,
            "comparison": comparison,
            "placement": candidate.compiled.placement if candidate.compiled else None,
        }
    )


def _slower(candidate: Candidate, chosen: Candidate | None, comparison: Comparison | None) -> str:
    if chosen is None:
        return "passed"
    if not candidate.target.runs_here:
        return f"{_share(candidate):.0%} of its operators on the accelerator, the chosen has {_share(chosen):.0%}"
    if candidate.latency and chosen.latency:
        words = f"{candidate.latency.p50_ms:.2f} ms against {chosen.latency.p50_ms:.2f} ms of {chosen.offer.precision}"
        return words if comparison is None else f"{words} ({comparison.verdict} than {comparison.baseline})"
    return "passed, and not chosen"
