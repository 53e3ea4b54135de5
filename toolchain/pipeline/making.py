"""One part for one target: build what the planner wants, time what passed, choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from edgepack.targets.base import Offer, Target
from edgepack.toolchain.errors import EdgepackError, GateError, UsageError
from edgepack.toolchain.pipeline import planning
from edgepack.toolchain.pipeline.budget import Turn
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.known import Known
from edgepack.toolchain.pipeline.workbench import Workbench
from edgepack.toolchain.results import CandidateResult, Comparison, Environment, Failure

FALLBACK = "it costs more than the others, and one of them passed its gate"


@dataclass
class Made:
    """What a target gave for a part.

    Attributes:
        builder: What built it.
        candidates: All that the target offers.
        results: The planner's line for each.
        chosen: The one that ships, if any passed.
        rejected: The others, best first, when none passed: kept apart for somebody to look at.
        comparisons: Measured ratios by precision.
    """

    builder: Builder
    candidates: list[Candidate]
    results: list[CandidateResult]
    chosen: Candidate | None
    rejected: list[Candidate]
    comparisons: dict[str, Comparison]

    def choose(self, candidate: Candidate | None, why: str) -> None:
        """Ship another candidate, or none, and say why in the planner's lines."""
        self.chosen = candidate
        self.results = _results(self.builder, self.candidates, candidate, why, self.comparisons)

    def ladder(self) -> list[Candidate]:
        """What the part can step down to from what was chosen: slower forms that still gain, then fp32.

        On a device that is not here nothing was timed, and some have no fp32: there it is what passed and is nearer to
        floating point than what was chosen, the least near first, and then what is built only now (`Offer.fallback`).
        """

        def faster(candidate: Candidate) -> bool:
            comparison = self.comparisons.get(candidate.offer.precision)
            return comparison is not None and comparison.verdict == "faster"

        others = [c for c in self.candidates if c.passed and c is not self.chosen]
        quantized = [c for c in others if c.offer.quantizer is not None]
        floats = [c for c in others if c.offer.quantizer is None]
        if self.chosen is not None and not self.chosen.target.runs_here:
            nearer = [c for c in quantized if cosine(c) > cosine(self.chosen)]
            waiting = [c for c in self.candidates if c.offer.not_built == FALLBACK]
            return sorted(nearer, key=cosine) + waiting + floats
        return sorted(filter(faster, quantized), key=planning.p50) + floats

    def built(self, candidate: Candidate) -> Candidate | None:
        """A rung of the ladder, built where that had been put off; None where it does not pass."""
        if candidate.offer.not_built is None:
            return candidate
        target, place = candidate.target, self.candidates.index(candidate)
        lowered, folder = self.builder.lower(target)
        made = self.builder.build(target, replace(candidate.offer, not_built=None), lowered, folder)
        made.latency = made.compiled.estimate if made.compiled else None
        self.candidates[place] = made
        return made if made.passed else None

    def failures(self) -> list[Failure]:
        """The failure of a part without an artifact: rejected by its gate, or every candidate failed."""
        if self.chosen is not None:
            return []
        target, part = self.candidates[0].target, self.builder.part.name
        of_part = "" if part == "main" else f"part {part}: "
        if self.rejected:
            why = " / ".join(
                f"{c.offer.precision} failed its gate: {'; '.join(c.parity.failed)}"
                for c in self.rejected
                if c.parity
            )
            error: EdgepackError = GateError(
                of_part + why,
                where=target.name,
                todo="It is kept under rejected/; try --precision auto, real --calibration data, or a gate of your own",
            )
        else:
            found = [candidate.error for candidate in self.candidates if candidate.error]
            if not found:
                reasons = "; ".join(f"{c.offer.precision}: {c.offer.not_built}" for c in self.candidates)
                found = [
                    UsageError(f"Nothing was built for {target.name}: {of_part}{reasons}", where=target.name)
                ]
            error = found[0]
        return [Failure(target=target.name, error=str(error), exit_code=error.exit_code)]


@dataclass
class Built:
    """What a target gave for a part, before anything is timed.

    Attributes:
        candidates: All that the target offers, built or not.
        reference: The float form, where it is wanted only to compare with.
    """

    candidates: list[Candidate]
    reference: Candidate | None = None


def build_part(bench: Workbench, builder: Builder, target: Target, turn: Turn, known: Known) -> Built:
    """Lower, and build and judge what the planner wants, within a turn of the time budget.

    Args:
        bench: The run's tools.
        builder: Of the part.
        target: For which.
        turn: No further candidate is begun when it is over.
        known: What other processes found out; where they tried the target, the turn was theirs.

    Raises:
        EdgepackError: The target cannot take this part at all.
    """
    part = builder.part.name
    refused = known.refused(target.name, part)
    if refused is not None:
        raise refused
    lowered, lowered_folder = builder.lower(target)
    offered = builder.offers(target, lowered, lowered_folder)
    offers = planning.selected(target, offered, bench.recipe.precision)
    candidates = {offer.precision: Candidate(target, offer) for offer in offers}
    for offer in _in_building_order(offers):
        key = (target.name, part, offer.precision)
        over = turn.over and target.name not in known.targets and any(c.parity for c in candidates.values())
        enough = FALLBACK if offer.fallback and any(c.passed for c in candidates.values()) else None
        why = offer.not_built or known.not_built.get(key) or (turn.reason if over else None) or enough
        if why:
            candidates[offer.precision] = Candidate(target, replace(offer, not_built=why))
        elif key in known.errors:
            candidates[offer.precision] = Candidate(target, offer, error=known.errors[key])
        else:
            candidates[offer.precision] = builder.build(target, offer, lowered, lowered_folder)
    unquantized = next((offer for offer in offered if offer.quantizer is None), None)
    if target.runs_here and bench.recipe.measure and unquantized and unquantized not in offers:
        # Asked for by name, a form ships even where it gains nothing; that must not go unseen.
        reference = builder.build(target, unquantized, lowered, lowered_folder)
        return Built(list(candidates.values()), reference)
    return Built(list(candidates.values()))


def make_part(
    bench: Workbench,
    builder: Builder,
    target: Target,
    env: Environment,
    turn: Turn,
    known: Known | None = None,
) -> Made:
    """Build, judge, time and choose, within a turn of the time budget.

    Raises:
        EdgepackError: The target cannot take this part at all.
    """
    built = build_part(bench, builder, target, turn, known or Known())
    return _judged(bench, builder, target, env, built.candidates, built.reference, turn)


def _in_building_order(offers: Sequence[Offer]) -> list[Offer]:
    """The float form first: whatever happens to the time budget, it is there to ship and to compare with.

    Last what is built only where the others fail.
    """
    return sorted(offers, key=lambda offer: (offer.fallback, offer.quantizer is not None))


def _judged(
    bench: Workbench,
    builder: Builder,
    target: Target,
    env: Environment,
    candidates: list[Candidate],
    reference: Candidate | None,
    turn: Turn,
) -> Made:
    """Time what passed, beside `reference` if there is one, and choose."""
    from edgepack.toolchain.pipeline import measuring

    passed = [candidate for candidate in candidates if candidate.passed]
    comparisons: dict[str, Comparison] = {}
    for candidate in candidates:
        if candidate.compiled:
            candidate.latency = candidate.compiled.estimate
    if target.runs_here and passed and bench.recipe.measure:
        timed = [*passed, reference] if reference is not None and reference.passed else passed
        latencies, comparisons = measuring.time_together(
            bench, builder, timed, planning.baseline(timed), env, turn
        )
        for candidate in passed:
            candidate.latency = latencies[candidate.offer.precision]
    chosen, why = planning.choose(passed, comparisons) if passed else (None, "")
    slow = comparisons.get(chosen.offer.precision) if chosen else None
    if reference is not None and chosen and slow and slow.verdict != "faster":
        bench.log.add_warning(
            f"{target.name}: {chosen.offer.precision}, which was asked for, is not measurably faster than "
            f"{slow.baseline} here ({slow.ratio:.2f}x)"
        )
    # Kept apart only when nothing ships: then somebody wants to see how far it is off.
    failed = [candidate for candidate in candidates if candidate.parity is not None and not candidate.passed]
    rejected = [] if chosen else sorted(failed, key=cosine, reverse=True)
    results = _results(builder, candidates, chosen, why, comparisons)
    return Made(builder, candidates, results, chosen, rejected, comparisons)


def by_target(made: Sequence[Made]) -> Iterator[list[Made]]:
    """The parts of each target; they come one after the other."""
    for _, entries in groupby(made, key=lambda entry: entry.candidates[0].target.name):
        yield list(entries)


def _results(
    builder: Builder,
    candidates: Sequence[Candidate],
    chosen: Candidate | None,
    why: str,
    comparisons: dict[str, Comparison],
) -> list[CandidateResult]:
    return [
        planning.result(c, builder.part.name, chosen, why, comparisons.get(c.offer.precision), _size(c))
        for c in candidates
    ]


def cosine(candidate: Candidate) -> float:
    """A candidate's agreement with fp32, -1 where nothing is known."""
    value = candidate.parity.cosine if candidate.parity else None
    return -1.0 if value is None else value


def _size(candidate: Candidate) -> int | None:
    if candidate.folder is None or candidate.compiled is None:
        return None
    return sum((candidate.folder / name).stat().st_size for name in candidate.compiled.files)
