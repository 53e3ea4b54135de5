"""One part for one target: build what the planner wants, time what passed, choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgepack.targets.base import Target
from edgepack.toolchain.errors import EdgepackError, GateError, UsageError
from edgepack.toolchain.pipeline import planning
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.workbench import Workbench
from edgepack.toolchain.results import CandidateResult, Comparison, Environment, Failure


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


def make_part(bench: Workbench, builder: Builder, target: Target, env: Environment) -> Made:
    """Build, judge, time and choose.

    Raises:
        EdgepackError: The target cannot take this part at all.
    """
    from edgepack.toolchain.pipeline import measuring

    lowered, lowered_folder = builder.lower(target)
    offers = planning.selected(
        target, builder.offers(target, lowered, lowered_folder), bench.recipe.precision
    )
    candidates = [
        Candidate(target, offer) if offer.not_built else builder.build(target, offer, lowered, lowered_folder)
        for offer in offers
    ]
    passed = [candidate for candidate in candidates if candidate.passed]
    comparisons: dict[str, Comparison] = {}
    for candidate in candidates:
        if candidate.compiled:
            candidate.latency = candidate.compiled.estimate
    if target.runs_here and passed and bench.recipe.measure:
        latencies, comparisons = measuring.time_together(
            bench, builder, passed, planning.baseline(passed), env
        )
        for candidate in passed:
            candidate.latency = latencies[candidate.offer.precision]
    chosen, why = planning.choose(passed, comparisons) if passed else (None, "")
    # Kept apart only when nothing ships: then somebody wants to see how far it is off.
    failed = [candidate for candidate in candidates if candidate.parity is not None and not candidate.passed]
    rejected = [] if chosen else sorted(failed, key=_cosine, reverse=True)
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


def _cosine(candidate: Candidate) -> float:
    cosine = candidate.parity.cosine if candidate.parity else None
    return -1.0 if cosine is None else cosine


def _size(candidate: Candidate) -> int | None:
    if candidate.folder is None or candidate.compiled is None:
        return None
    return sum((candidate.folder / name).stat().st_size for name in candidate.compiled.files)
