"""Samples of a part with states from the program's own calls, and where their states came from.

    s_0 = the first state,   y_t, s_{t+1} = part(x_t, s_t),   sample_t = (x_t, s_t)

The states are those that calls lead to. States that are drawn at random are wider than these, and as easy as noise
to get right: ranges that are set on them are too wide for the part at work, and a gate that is judged on them speaks
of something that never happens. The recorded rollout gives samples first. Where it has few calls of the part, or
there is none, every reference input is played several times in a row from the first state. Only where that is
refused too the reference cases stand in as they were recorded, and the description says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from edgepack.quantize.samples import SampleFile
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.program import size_of, terms

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize.base import Feeds
    from edgepack.toolchain.links import StatefulProgram
    from edgepack.toolchain.program import Part, Program, Signature

ENOUGH = 8
"""With fewer samples others are looked for: a half of them calibrates, and a gate on three says little."""

_TIMES = 4
"""How often a reference input is played: states leave their first values, and do not settle on one input's."""


def rolled(program: Program, part: Part, player: StatefulProgram, count: int) -> tuple[SampleFile, str]:
    """Samples of a part with states.

    Args:
        program: In floating point.
        part: A part that state links feed.
        player: The same program, opened.
        count: Most samples, spread evenly over a longer rollout.

    Returns:
        The samples, and where their states came from, in words for the report.
    """
    file = SampleFile(_rollout(program, part, player, count))
    said = [f"{_counted(len(file), 'call')} of the model's own rollout on random inputs"] if len(file) else []
    enough = min(count, ENOUGH)
    if len(file) < enough:
        before = len(file)
        for feed in islice(_in_a_row(program, part, player), count - before):
            file.append(feed)
        if len(file) > before:
            said.append(f"{len(file) - before} of random inputs, each played in a row from the first state")
    if said:
        said[-1] += ", with the states that came of them"
    if len(file) < enough:
        cases = part.cases[: count - len(file)]
        for case in cases:
            file.append(case.inputs)
        said.append(f"{_counted(len(cases), 'reference input')} with states that no call led to")
    return file, "; ".join(said)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _rollout(program: Program, part: Part, player: StatefulProgram, count: int) -> Iterator[Feeds]:
    """The part's calls of the rollout with what comes to them, at most `count`, early and late ones."""
    own = [index for index, call in enumerate(program.rollout) if call.part == part.name]
    taken = min(count, len(own))
    wanted = {own[at * len(own) // taken] for at in range(taken)}
    if not wanted:
        return
    player.reset()
    for index, call in enumerate(program.rollout):
        if index in wanted:
            yield player.feed(call.part, call.inputs)
            if index == max(wanted):
                return
        player.call(call.part, call.inputs)


def _in_a_row(program: Program, part: Part, player: StatefulProgram) -> Iterator[Feeds]:
    """Every reference input again and again, as long as the states of a call fit the next."""
    for index in range(len(part.cases)):
        player.reset()
        try:
            for other in _feeding(program, part):
                player.call(other.name, _given(program, other, index))
            given, before = _given(program, part, index), None
            for _ in range(_TIMES):
                feed = player.feed(part.name, given)
                if not _agree(part.signature, feed) or (before is not None and _same(before, feed)):
                    break
                if not _finite(player.call(part.name, given)):
                    break
                yield feed
                before = feed
        except EdgepackError:
            # A cache that grows beside a mask that does not, or parts whose reference inputs differ in size.
            continue


def _feeding(program: Program, part: Part) -> list[Part]:
    """The parts whose outputs become states of `part`, at once or through others, in calling order."""
    found, new = set[str](), {part.name}
    while new:
        new = {link.from_part for link in program.links if link.to_part in new} - found - {part.name}
        found |= new
    return [other for other in program if other.name in found]


def _given(program: Program, part: Part, index: int) -> Feeds:
    """What a caller gives in a reference case: all but the states.

    Raises:
        EdgepackError: There are fewer cases.
    """
    if index >= len(part.cases):
        raise EdgepackError(f"The part {part.name} has {len(part.cases)} reference cases")
    states = program.states(part.name)
    return {name: value for name, value in part.cases[index].inputs.items() if name not in states}


def _agree(signature: Signature, feed: Feeds) -> bool:
    """Whether every named dimension has one size, those that are sums of others included."""
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        for dim, size in zip(spec.shape, feed[spec.name].shape, strict=True):
            if (size != dim) if isinstance(dim, int) else (sizes.setdefault(dim, size) != size):
                return False
    return all(
        size == size_of(dim, {name: sizes[name] for name in terms(dim)})
        for dim, size in sizes.items()
        if len(terms(dim)) > 1 and set(terms(dim)) <= sizes.keys()
    )


def _same(before: Feeds, after: Feeds) -> bool:
    """Whether a call led to no other state: the next would be the same sample."""
    import numpy as np

    return all(np.array_equal(value, after[name]) for name, value in before.items())


def _finite(outputs: Mapping[str, np.ndarray]) -> bool:
    import numpy as np

    return all(np.isfinite(value).all() for value in outputs.values() if value.dtype.kind == "f")
