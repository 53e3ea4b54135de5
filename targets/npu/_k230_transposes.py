"""Transposes in the form in which nncase (2.11.0) computes them.

Of four axes, two of them as long as one another, nncase takes one for the other: it computes something else, or a rule
of its makes an expression without a type, and an assertion ends the process. Of three axes it does neither.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import onnx_ir as ir

_SAFE = 3
"""Axes that nncase tells apart by their places."""


def short_transposes(model: ir.Model) -> int:
    """Write a Transpose of four axes and more, some of equal length, as such of three axes; returns how often.

    Axes of one element are left out, and those that stay neighbours count as one. Where more than three are left, one
    axis after the other goes to the front: with all before it and all behind it as one axis each, that takes three.
    """
    import numpy as np

    count = 0
    for node in list(model.graph):
        shape = known_shape(node.inputs[0]) if standard(node, "Transpose") else None
        if shape is None or len(shape) <= _SAFE:
            continue
        moved = list(node.attributes.get_ints("perm", list(reversed(range(len(shape))))))
        kept = [axis for axis in range(len(shape)) if shape[axis] != 1]
        lengths = [shape[axis] for axis in kept]
        if len(set(lengths)) == len(lengths):
            continue
        new = Build(model.graph, node)
        value = node.inputs[0]
        for step, (turned, order) in enumerate(_turns(lengths, [kept.index(a) for a in moved if a in kept])):
            view = new.op("Reshape", [value, new.number(np.asarray(turned), f"shape_{step}")], f"view_{step}")
            value = new.op("Transpose", [view], f"turned_{step}", perm=order)
        new.finish("Reshape", [value, new.number(np.asarray([shape[axis] for axis in moved]), "shape")])
        count += 1
    return count


def _turns(lengths: list[int], order: list[int]) -> list[tuple[list[int], list[int]]]:
    """A permutation of axes as such of at most three, each of a (shape, order) that what was before is viewed in."""
    groups: list[list[int]] = []
    for axis in order:
        if groups and groups[-1][-1] + 1 == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    now = sorted(groups)
    sizes = {group[0]: math.prod(lengths[axis] for axis in group) for group in groups}
    if len(groups) <= _SAFE:
        turn = [sizes[group[0]] for group in now], [now.index(group) for group in groups]
        return [turn] if len(groups) > 1 else []
    turns = []
    stay = next(n for n in range(len(groups) + 1) if [g for g in now if g in groups[n:]] == groups[n:])
    for group in reversed(groups[:stay]):
        place = now.index(group)
        before, behind = (math.prod(sizes[g[0]] for g in part) for part in (now[:place], now[place + 1 :]))
        if place:
            turns.append(([before, sizes[group[0]], behind], [1, 0, 2]))
        now.insert(0, now.pop(place))
    return turns
