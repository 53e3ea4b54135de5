"""What a part is built as for one target: itself, or several forms that together stand for it.

    main  ──►  a runtime that takes any size             main
          ──►  static shapes and --buckets               main-32, main-64      the caller still calls `main`
          ──►  an accelerator and --host lookups         lookup, core
          ──►  both                                      lookup-32, core-32, lookup-64, core-64

Every form is a part of a program of its own, so that all that is done and said of parts holds for it: it is lowered,
quantized, compiled, judged and reported by itself.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.on_host import on_host
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.hosting import CORE, LOOKUP, split
from edgepack.toolchain.pipeline.padding import padding
from edgepack.toolchain.program import Part, Program, Signature
from edgepack.toolchain.whole import Variant, Whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgepack.targets.base import Target
    from edgepack.toolchain.recipe import Recipe

Turn = tuple["Target", Builder]
"""A builder, and the target that it builds for: the accelerator that was asked for, or the host beside it."""


@dataclass(frozen=True)
class _Pieces:
    """What is built instead of a part: graphs that are run one after the other."""

    program: Program
    folder: Path


def check_host(recipe: Recipe, program: Program, wanted: Sequence[Target]) -> None:
    """Raise UsageError where nothing can be left to a host: no target has one, or the program has several parts."""
    if not recipe.host:
        return
    if not any(target.host for target in wanted):
        raise UsageError(
            f"None of {', '.join(target.name for target in wanted)} leaves anything to a host",
            where="--host",
            todo="Add a target that does, such as npu:ethos-u55-128, or leave the option out",
        )
    if len(program.parts) > 1 or program.links:
        raise UsageError(
            f"Lookups are split off models of one part without states; this one has {', '.join(program.parts)}",
            where="--host",
            todo="Leave the option out",
        )


def all_variants(builders: Sequence[Builder], target: Target, *, hosted: bool | None = None) -> list[Turn]:
    """What is built of every part for a target; the same builders for the same question.

    Args:
        builders: One for every part.
        target: The target.
        hosted: Whether lookups are left to its host; as the recipe says unless given.

    Raises:
        UsageError: A part cannot be padded without changing what it computes.
        TargetError: There is nothing to leave to the host.
        GateError: The graphs that a part is split into do not compute what it does.
    """
    recipe = builders[0].bench.recipe
    buckets = recipe.buckets if target.static_shapes or recipe.static else {}
    host = on_host(target) if (recipe.host if hosted is None else hosted) else None
    if not buckets and host is None:
        return [(target, builder) for builder in builders]
    kind = f"{'buckets' * bool(buckets)} {'host' * (host is not None)}"
    turns = []
    for builder in builders:
        if kind not in builder.derived:
            builder.derived[kind] = _forms(builder, buckets, hosted=host is not None)
        turns += [
            (host if host is not None and one.after is None else target, one) for one in builder.derived[kind]
        ]
    return turns


def _forms(builder: Builder, buckets: Mapping[str, Sequence[int]], *, hosted: bool) -> list[Builder]:
    part = builder.part
    sized = _combined(buckets)
    pieces = _Pieces(
        Program({part.name: part}, (), builder.program.source, builder.program.notes), builder.folder
    )
    if hosted:
        pieces = _Pieces(*split(builder.bench, builder.program, part, builder.folder))
    ways = tuple(
        Variant(sizes, tuple(_named(name, sizes) for name in pieces.program.parts)) for sizes in sized
    )
    fill = padding(builder.bench, builder.program, builder.folder, ways) if buckets else {}
    whole = Whole(part.name, _seen(builder, buckets), ways, fill)
    program = Program({}, (), pieces.program.source, pieces.program.notes)
    made: dict[str, Builder] = {}
    for way in ways:
        for piece in pieces.program:
            name = _named(piece.name, way.sizes)
            program.parts[name] = replace(
                piece,
                name=name,
                sizes={**piece.example_sizes(), **_own(piece, way.sizes)},
                form_of=None if hosted else part.origin,
            )
            made[name] = Builder(
                builder.bench, program, program.parts[name], pieces.folder, builder.source, builder.metric, None, made,
                bucket=_own(piece, way.sizes), whole=whole, origin=builder,
                after=pieces.program.parts[LOOKUP] if hosted and piece.name == CORE else None,
            )  # fmt: skip
    return list(made.values())


def _combined(buckets: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """Every combination of sizes, the smallest first; one without any where there are no buckets."""
    found = [
        dict(zip(buckets, sizes, strict=True)) for sizes in itertools.product(*map(sorted, buckets.values()))
    ]
    return sorted(found, key=lambda sizes: math.prod(sizes.values()))


def _named(piece: str, sizes: Mapping[str, int]) -> str:
    return "-".join([piece, *map(str, sizes.values())])


def _own(piece: Part, sizes: Mapping[str, int]) -> dict[str, int]:
    """Those of the sizes that a piece has dimensions for."""
    return {dim: size for dim, size in sizes.items() if dim in piece.signature.symbols}


def _seen(builder: Builder, buckets: Mapping[str, object]) -> Signature:
    """What a caller sees: open where there are buckets, fixed elsewhere, for so are the files."""
    signature = builder.part.signature
    sizes = {dim: dim if dim in buckets else size for dim, size in builder.sizes.items()}

    def shape(dims: Sequence[int | str]) -> tuple[int | str, ...]:
        return tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)

    return Signature(
        tuple(replace(spec, shape=shape(spec.shape)) for spec in signature.inputs),
        tuple(replace(spec, shape=shape(spec.shape)) for spec in signature.outputs),
    )
