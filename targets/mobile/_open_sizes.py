"""Which dimensions of a `.tflite` callers choose, and which not, with why.

A file is converted with the dimensions open that are asked for. Where an operator refuses, the fewest are pinned that
let it pass: first each by itself, then one after the other in the order of the signature; the report names the
dimension, the operator, and its reason. A dimension along which a state grows cannot be pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from pydantic import Field

from edgepack.targets.base import Context
from edgepack.targets.mobile._tflite.base import NotServed
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.options import Names, Options
from edgepack.toolchain.program import Part, Program, Signature, TensorSpec, size_of, terms

ALL = "all"
T = TypeVar("T")


class OpenSizes(Options):
    """What a target can be told of sizes."""

    open: Names | None = Field(
        None,
        description="dimensions that the file leaves to its caller, or all; the others are fixed at --size. "
        "By default those of a program whose states grow from call to call, and no others",
    )


def growing(program: Program, part: Part | None = None) -> dict[str, str]:
    """The dimensions along which states grow from call to call, each with the input that does; of one part, or of all.

    A state grows where it leaves a part with another length than it enters it with. What another part makes once, as
    an encoder does for its decoder, may have its length by another name.
    """
    found: dict[str, str] = {}
    for link in program.links:
        if part is not None and link.to_part != part.name:
            continue
        source = program.parts[link.from_part].signature.output(link.output).shape
        into = program.parts[link.to_part].signature.input(link.input).shape
        if source == into:
            continue
        if len(source) != len(into):
            found[str(len(into))] = link.input
            continue
        if link.from_part != link.to_part and not _numbers_differ(source, into):
            continue
        for made, taken in zip(source, into, strict=True):
            if made != taken:
                found |= dict.fromkeys(terms(taken) or (str(taken),), link.input)
    return found


def _numbers_differ(source: Sequence[int | str], into: Sequence[int | str]) -> bool:
    """A dimension that both shapes fix has two sizes."""
    pairs = zip(source, into, strict=True)
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)


def wanted(target: str, program: Program, part: Part, context: Context) -> tuple[str, ...]:
    """The dimensions of a part that are to stay open: those asked for, or all where the program's states grow.

    Raises:
        UnknownNameError: No part has such a dimension.
        UsageError: Sizes are both asked to be fixed and to be open.
        TargetError: A state grows along a dimension that is not asked to be open.
    """
    asked = OpenSizes.of(context.options, target, "--target-option").open
    own = part.signature.symbols
    needed = growing(program, part)
    for name, state in needed.items():
        if name not in own:
            raise TargetError(
                f"The state '{state}' is made with other dimensions than it is taken with, and they are fixed",
                where=f"{target}, part {part.name}",
                todo="Give the model a cache of fixed length, or name the dimension that grows",
            )
    if not asked:
        return own if growing(program) and not context.static else ()
    if context.static:
        raise UsageError(
            f"Sizes are fixed by --static or --buckets, and the dimensions {', '.join(asked)} asked to be open",
            where=f"--target-option, {target}",
            todo="Leave one of the two out",
        )
    known = dict.fromkeys(name for one in program for name in one.signature.symbols)
    for name in asked:
        if name != ALL and name not in known:
            raise UnknownNameError("dimension", name, [*known, ALL], where=f"--target-option open, {target}")
    found = own if ALL in asked else tuple(name for name in own if name in asked)
    for name, state in needed.items():
        if name not in found:
            raise TargetError(
                f"The state '{state}' grows along '{name}', which is not among the open dimensions",
                where=f"{target}, part {part.name}",
                todo=f"Add it: --target-option open={','.join([*found, name])}",
            )
    return found


def partly(signature: Signature, sizes: Mapping[str, int], opened: Collection[str]) -> Signature:
    """The signature with every dimension that is not open at its size; a sum with an open term is open."""

    def fixed(dim: int | str) -> int | str:
        return dim if isinstance(dim, str) and set(terms(dim)) & set(opened) else size_of(dim, sizes)

    def one(spec: TensorSpec) -> TensorSpec:
        return replace(spec, shape=tuple(map(fixed, spec.shape)))

    return Signature(tuple(map(one, signature.inputs)), tuple(map(one, signature.outputs)))


def pinned(sizes: Mapping[str, int], opened: Collection[str]) -> dict[str, int]:
    """The sizes of all that is not open."""
    return {name: size for name, size in sizes.items() if not set(terms(name)) & set(opened)}


def fewest_pinned(
    opened: Sequence[str],
    attempt: Callable[[tuple[str, ...]], T],
    sizes: Mapping[str, int],
    needed: Mapping[str, str],
) -> tuple[T, list[str]]:
    """Convert with as many open dimensions as the operators take.

    Args:
        opened: The dimensions that are to be open.
        attempt: Converts with these open.
        sizes: Size of a dimension that is pinned.
        needed: Dimensions that cannot be pinned, each with the state that grows along it.

    Returns:
        What `attempt` made, and what the report should say of each dimension that is pinned.

    Raises:
        NotServed: It refuses with every dimension pinned that may be.
    """
    left = list(opened)
    notes: list[str] = []
    while True:
        try:
            return attempt(tuple(left)), notes
        except NotServed as refusal:
            may = [name for name in left if name not in needed]
            if not may:
                raise
            made, name = _without_one(left, may, attempt)
            left.remove(name)
            notes.append(
                f"The dimension '{name}' is pinned to {sizes[name]}: {refusal.what} ({refusal.where})"
            )
            if made is not None:
                return made, notes


def _without_one(
    left: Sequence[str], may: Sequence[str], attempt: Callable[[tuple[str, ...]], T]
) -> tuple[T | None, str]:
    """What is made with one dimension less, and which; the first one, and nothing, where none helps by itself."""
    for name in may:
        try:
            return attempt(tuple(other for other in left if other != name)), name
        except NotServed:
            continue
    return None, may[0]
