"""Several graphs of one program in one file, with every weight once: parts, or one part in several sizes.

A decoder with a cache of fixed capacity reads its prompt in one call of many positions (prefill) and goes on with calls
of one (decode). Sizes are fixed in a mobile runtime's file, so that these are two graphs with the same weights:

    wanted = {"prefill": Phase("decoder", {"step": 64}), "decode": Phase("decoder", {"step": 1})}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgepack.targets.base import Context, Target
from edgepack.toolchain.program import Lowered, Program, Signature


@dataclass(frozen=True)
class Phase:
    """One graph of a file: a part of the program, and the sizes that are this graph's alone."""

    part: str
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Phases:
    """One file with several graphs.

    Attributes:
        path: The file; a session of a signature opens it.
        signatures: By the graph's name.
        shared_bytes: What files of their own would have more, because several of them hold the same weights.
    """

    path: Path
    signatures: Mapping[str, Signature]
    shared_bytes: int


Quantize = Callable[[Lowered, Path], Lowered]
"""Makes a lowered graph smaller, in a folder of its own; equal weights must become equal again."""


def as_lowered(lowered: Lowered, folder: Path) -> Lowered:
    """In floating point, that is, unchanged."""
    del folder
    return lowered


def lower_each(
    target: Target,
    program: Program,
    context: Context,
    wanted: Mapping[str, Phase],
    quantize: Quantize,
    folder: Path,
) -> dict[str, Lowered]:
    """Every graph in the target's file form, each in a folder of its own within `folder`; errors of `Target.lower`."""
    made = {}
    for name, phase in wanted.items():
        own = replace(context, sizes={**context.sizes, **phase.sizes})
        lowered = target.lower(program, program.parts[phase.part], own, folder / name / "float")
        made[name] = quantize(lowered, folder / name / "quantized")
    return made
