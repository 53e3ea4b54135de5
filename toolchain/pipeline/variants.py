"""What a part is built as for one target: itself, or several forms that together stand for it.

    main  ──►  a runtime that takes any size           main
          ──►  one with static shapes and --buckets    main-32, main-64, main-128     the caller still calls `main`

Every form is a part of a program of its own, so that all that is done and said of parts holds for it: it is lowered,
quantized, compiled, judged and reported by itself.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.padding import padding
from edgepack.toolchain.program import Program
from edgepack.toolchain.whole import Variant, Whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgepack.targets.base import Target

_BUCKETS = "buckets"


def variants(builder: Builder, target: Target) -> list[Builder]:
    """What is built of a part for a target; the same builders for the same question.

    Raises:
        UsageError: It cannot be padded without changing what it computes.
    """
    recipe = builder.bench.recipe
    if not recipe.buckets or not (target.static_shapes or recipe.static):
        return [builder]
    if _BUCKETS not in builder.derived:
        builder.derived[_BUCKETS] = _bucketed(builder, recipe.buckets)
    return builder.derived[_BUCKETS]


def all_variants(builders: Sequence[Builder], target: Target) -> list[Builder]:
    """`variants` of every part."""
    return [one for builder in builders for one in variants(builder, target)]


def _bucketed(builder: Builder, buckets: Mapping[str, Sequence[int]]) -> list[Builder]:
    part = builder.part
    combined = [
        dict(zip(buckets, sizes, strict=True)) for sizes in itertools.product(*map(sorted, buckets.values()))
    ]
    combined.sort(key=lambda sizes: math.prod(sizes.values()))
    ways = tuple(Variant(sizes, (f"{part.name}-{'-'.join(map(str, sizes.values()))}",)) for sizes in combined)
    fill = padding(builder.bench, builder.program, builder.folder, ways)
    whole = Whole(part.name, part.signature, ways, fill)
    parts = {
        way.steps[0]: replace(
            part, name=way.steps[0], sizes={**part.example_sizes(), **way.sizes}, form_of=part.origin
        )
        for way in ways
    }
    program = Program(parts, (), builder.program.source, builder.program.notes)
    made: dict[str, Builder] = {}
    for way in ways:
        (name,) = way.steps
        made[name] = Builder(
            builder.bench, program, parts[name], builder.folder, builder.source, builder.metric, None, made,
            bucket=way.sizes, whole=whole,
        )  # fmt: skip
    return list(made.values())
