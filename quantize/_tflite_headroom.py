"""Headroom: ranges of 16-bit activations are wider than what calibration saw.

    what a number x becomes:  s clip(round(x / s), -32767, 32767),   s = h max|x seen| / 32767

A range that ends where the samples ended (h = 1) clips what goes beyond, and some input always does: of n independent
samples, the next one exceeds their maximum once in n + 1 times, in every tensor anew. With 16 bits, h = 2 costs one bit
of fifteen: 6 dB of a noise that lies 80 dB below the signal, where that of 8-bit weights lies 40 dB below it. With 8
bits there is no bit to give away, and their ranges stay as they were seen. Nor is there in the squares of a norm:
MiniLM's have an outlier in every row beside which others' are a few steps, and with h = 2 its mean cosine falls from
0.9985 to 0.80 (Ethos-U85, not rewritten).

1 / sqrt gets h = 4. It has no natural end: of a row whose size is a quarter of the least that was seen it is four times
the most, and clipped, the whole row is off by as much. The first guess of a norm in two steps gets h = 1.5: what it
clips, the second step makes up, and the first line of its table ends at h times what was seen, which rows that are
almost zero are far below. Least mean cosines of two parts of zoo systems, by h of the guess:

    h                          1       1.5     2
    t5gemma/tiny, decoder      0.9853  0.9967  0.9999
    mmmamba/tiny, prefill      0.9945  0.9933  0.9850
"""

from __future__ import annotations

from collections.abc import Collection, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import tflite

if TYPE_CHECKING:
    import numpy as np

FACTOR = 2.0
OWN_FACTORS = {"RSQRT": 4.0}
"""h of the results of single operators."""
GUESS_FACTOR = 1.5
GUESS = "/first"
"""How the names of a norm's first guess end (`toolchain.rewrites`): its last step makes up what this one is off by."""

Extremes = MutableMapping[str, dict[str, "np.ndarray"]]


def add_headroom(extremes: Extremes, model: Any, narrow: Collection[str] = ()) -> int:
    """Widen the ranges of what operators compute in floating point, in place; returns how many.

    Inputs of the graph keep theirs: what a caller gives is what calibration stands for, and some are lookups' numbers.
    So do the squares of a norm (`_squares`).

    Args:
        extremes: {"min", "max"} of every tensor by its name.
        model: The float file's graph, which they were seen in.
        narrow: Operators that are computed with 8 bits, such as "BATCH_MATMUL"; what they read and give is left out.
    """
    operators = list(tflite.operators(model))
    left = {
        tensor.name
        for operator in operators
        if operator.op in narrow
        for tensor in (*operator.inputs, *operator.outputs)
        if tensor is not None
    }
    left |= _squares(operators)
    widened = 0
    for operator in operators:
        for tensor in operator.outputs:
            found = extremes.get(tensor.name)
            if found is None or tensor.dtype != "float32" or tensor.name in left:
                continue
            guess = tensor.name.endswith(GUESS)
            own = GUESS_FACTOR if guess else OWN_FACTORS.get(operator.op, FACTOR)
            for kind in ("min", "max"):
                found[kind] = found[kind] * own
            left.add(tensor.name)
            widened += 1
    return widened


def _squares(operators: Sequence[tflite.Operator]) -> set[str]:
    """Names of a norm's squares, their mean, and what is made of it up to 1 / sqrt.

    An outlier's square takes the whole range as it is: beside it the squares of others are a few steps, and there is
    no bit to give away. Where a rewrite sums them by a product, no tensor holds them.
    """
    squares: set[str] = set()
    means: set[str] = set()
    roots: set[str] = set()
    for operator in operators:
        out = operator.name
        computed = [tensor.name for tensor in operator.inputs if tensor is not None and not tensor.constant]
        first = computed[0] if computed else None
        if operator.op in {"SQUARE", "SQUARED_DIFFERENCE"} or (
            operator.op == "MUL" and computed == [first] * 2
        ):
            squares.add(out)
        elif operator.op in {"MEAN", "SUM"} and first in squares:
            means |= {first, out}
        elif operator.op in {"ADD", "MUL", "MAXIMUM"} and len(computed) == 1 and first in means:
            means.add(out)
        elif operator.op in {"RSQRT", "SQRT"} and first in means:
            roots.add(out)
    return means | roots
