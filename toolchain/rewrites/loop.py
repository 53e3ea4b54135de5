"""Which rewrites are applied: analyse, rewrite, analyse again, until nothing improves.

    1. what the device and form want before anything is refused is applied, and the result analysed;
    2. of what stays off the accelerator, the reasons name the rewrites that cure them; they are added, and the result
       is analysed;
    3. a step that leaves less off the accelerator is kept, and 2. follows again; one that does not is taken back, its
       members are tried one by one, and none of them a third time;
    4. what may save time there though nothing asks for it is tried one by one, and kept where it does by the vendor's
       estimate, with no more left off than before.

A step whose graph the compiler fails on, or which changes what is computed, is taken back like one that does not help:
what was there before it still ships. Less is first fewer multiplications, then fewer operators.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edgepack.toolchain.errors import EdgepackError, GateError, TargetError
from edgepack.toolchain.results import Placement
from edgepack.toolchain.rewrites.base import Device, Rewrite, in_order


@dataclass(frozen=True)
class Analysis:
    """What a target says of a graph with some rewrites applied.

    Attributes:
        placement: Where every operator runs, and why not on the accelerator.
        macs: Multiplications by operator, where they are known.
        estimate_ms: The vendor's estimate of a call's time, where there is one.
    """

    placement: Placement
    macs: Mapping[str, int] = field(default_factory=dict)
    estimate_ms: float | None = None

    @property
    def left(self) -> tuple[int, int]:
        """Multiplications and operators that stay off the accelerator."""
        return sum(self.macs.get(refused.node, 0) for refused in self.placement.reasons), self.placement.cpu


@dataclass(frozen=True)
class Step:
    """One round: which rewrites were there, what stayed off, and whether that was kept.

    Attributes:
        names: The rewrites.
        left: Multiplications and operators off the accelerator; None where it could not be built.
        kept: Whether the next round went on from it.
        error: Why it could not be built.
    """

    names: tuple[str, ...]
    left: tuple[int, int] | None
    kept: bool
    error: EdgepackError | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        names: The rewrites to apply.
        analysis: With them applied.
        steps: Every round, in order.
    """

    names: tuple[str, ...]
    analysis: Analysis
    steps: tuple[Step, ...]


Analyse = Callable[[tuple[str, ...]], Analysis]


def improve(
    analyse: Analyse, device: Device, known: Sequence[Rewrite] | None = None, wanted: Collection[str] = ()
) -> Outcome:
    """Find the rewrites that leave least off the accelerator.

    Args:
        analyse: Applies the rewrites of these names to the graph as it came, and says what stays off.
        device: The accelerator and the form.
        known: The rewrites to choose from; all that are registered unless given.
        wanted: Names of those that are applied in any case.

    Returns:
        What to apply, with every step on the way. It ends: each rewrite is tried at most twice.

    Raises:
        EdgepackError: The graph of the first round cannot be built.
    """
    members = in_order() if known is None else list(known)
    names = tuple(member.name for member in members if member.first(device) or member.name in wanted)
    best = analyse(names)
    steps = [Step(names, best.left, kept=True)]
    tried = set(names)
    waiting: list[tuple[str, ...]] = []
    while True:
        if not waiting:
            asked = _asked(members, tried, best)
            waiting = [asked] if asked else [(one,) for one in _trials(members, tried, device)]
            if not waiting:
                return Outcome(names, best, tuple(steps))
        more = waiting.pop(0)
        tried |= set(more)
        chosen = tuple(member.name for member in members if member.name in {*names, *more})
        try:
            found = analyse(chosen)
        except (GateError, TargetError) as error:
            kept = False
            steps.append(Step(chosen, None, kept, error))
        else:
            kept = found.left < best.left or (found.left == best.left and _faster(found, best))
            steps.append(Step(chosen, found.left, kept))
            if kept:
                names, best = chosen, found
        if not kept and len(more) > 1:
            waiting += [(one,) for one in more]


def _asked(members: Sequence[Rewrite], tried: set[str], analysis: Analysis) -> tuple[str, ...]:
    """Rewrites, not tried yet, that a refusal asks for."""
    return tuple(
        member.name
        for member in members
        if member.name not in tried
        and any(cure.fits(refused) for cure in member.cures for refused in analysis.placement.reasons)
    )


def _trials(members: Sequence[Rewrite], tried: set[str], device: Device) -> tuple[str, ...]:
    """Rewrites, not tried yet, that may save time on a device."""
    return tuple(member.name for member in members if member.name not in tried and member.trial(device))


def _faster(found: Analysis, best: Analysis) -> bool:
    """Whether the vendor estimates less time; where it estimates none, nothing is known to be faster."""
    if found.estimate_ms is None or best.estimate_ms is None:
        return False
    return found.estimate_ms < best.estimate_ms
