"""Lowering again with the rewrites that a target's refusals ask for (`toolchain.rewrites`).

A target is asked what stays off its accelerator by building the candidate: lowered, quantized and compiled. The last
of these is what ships, so that the loop costs only the forms before it; each stage is kept in the cache, under a key
that holds the rewrites' own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain import tflite
from edgepack.toolchain.errors import GateError, NothingPlacedError
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.quantized import AS_GIVEN
from edgepack.toolchain.rewrites.base import in_order
from edgepack.toolchain.rewrites.loop import Analysis, Outcome, Step, improve

if TYPE_CHECKING:
    from pathlib import Path

    from edgepack.targets.base import Offer, Target
    from edgepack.toolchain.pipeline.candidates import Builder
    from edgepack.toolchain.program import Lowered


def rewritten(
    builder: Builder, target: Target, offer: Offer, base: Lowered, folder: Path
) -> tuple[Lowered, Path, Outcome | None]:
    """The part lowered with the rewrites that serve an offer best.

    Args:
        builder: Of the part.
        target: The target.
        offer: One precision of it.
        base: The part as it was lowered without.
        folder: The stage that `base` lies in.

    Returns:
        The lowered part, its stage, and how the loop went; `base` and None where the target wants no rewrites, or
        where they change what the part computes: then a warning says so.

    Raises:
        EdgepackError: The candidate cannot be built, with rewrites or without.
    """
    device = None if offer.precision == AS_GIVEN else target.rewrites_for(offer.precision, builder.sizes)
    if device is None:
        return base, folder, None

    asked: list[tuple[str, ...]] = []

    def lowered(names: tuple[str, ...], *, trial: bool = False) -> tuple[Lowered, Path]:
        return builder.lower(target, names, offer.precision, trial=trial) if names else (base, folder)

    def analyse(names: tuple[str, ...]) -> Analysis:
        trial = bool(asked)  # after the first there is something that ships
        asked.append(names)
        try:
            return analysed(builder, target, offer, *lowered(names, trial=trial), trial=trial)
        except NothingPlacedError as error:
            return Analysis(error.placement)

    try:
        recipe = builder.bench.recipe
        known = [member for member in in_order() if member.name not in recipe.without]
        outcome = improve(analyse, device, known, recipe.rewrite)
    except GateError as error:
        builder.bench.log.add_warning(f"{target.name}: rewrites for the accelerator were left out. {error}")
        return base, folder, None
    return (*lowered(outcome.names), outcome)


def analysed(
    builder: Builder, target: Target, offer: Offer, base: Lowered, folder: Path, *, trial: bool = False
) -> Analysis:
    """What stays off the accelerator of an offer that is built of `base`; a trial's refusals are kept.

    Raises:
        NothingPlacedError: Everything does.
        EdgepackError: It cannot be built.
    """
    candidate = Candidate(target, offer)
    candidate.lowered, place = builder.quantize(candidate, base, folder, trial=trial)
    _, compiled = builder.compile(candidate, place, trial=trial)
    estimate = None if compiled.estimate is None else compiled.estimate.p50_ms
    return Analysis(compiled.placement, macs_of(candidate.lowered), estimate)


def macs_of(lowered: Lowered) -> dict[str, int]:
    """Multiplications with accumulation by operator; empty for a form of which they are not known."""
    if lowered.format != "tflite":
        return {}
    return {one.name: one.macs for one in tflite.operators(tflite.read(lowered.path))}


def notes(outcome: Outcome | None) -> tuple[str, ...]:
    """What the report says of the loop; what was rewritten is among the lowered file's own notes."""
    if outcome is None:
        return ()
    return (f"Rewriting for the accelerator: {', then '.join(map(_said, outcome.steps))}",)


def _said(step: Step) -> str:
    names = ", ".join(step.names) or "nothing rewritten"
    if step.left is None:
        return f"nothing built with {names} (taken back: {step.error.what if step.error else 'it failed'})"
    return f"{step.left[1]} operators off with {names}" + ("" if step.kept else " (taken back)")
