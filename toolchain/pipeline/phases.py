"""What a part's call looks like to a planner: many rows at once (an encoder, prefill), or one (a decoding step).

A matrix product of one row takes the time of reading its weights, one of many rows that of multiplying: what
makes the one faster can make the other slower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgepack.toolchain.program import Program, TensorSpec


def rows(program: Program, part: str, sizes: Mapping[str, int]) -> int | None:
    """Rows of a typical product in one call: batch times positions; None for what is no sequence.

    Args:
        program: The program.
        part: Name of one of its parts.
        sizes: Sizes of the named dimensions when the part is timed.
    """
    states = program.states(part)
    for spec in program.parts[part].signature.inputs:
        if spec.name in states or not _runs_along(spec):
            continue
        shape = spec.resolve(sizes)
        return math.prod(shape if spec.dtype.startswith("int") else shape[:-1])
    return None


def _runs_along(spec: TensorSpec) -> bool:
    """Token ids [batch, positions], or features [batch, positions, channels]."""
    return len(spec.shape) == (2 if spec.dtype.startswith("int") else 3)
