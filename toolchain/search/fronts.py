"""Pareto fronts: what dominates what, the volume that a front dominates, and how well ranks agree.

All objectives are to be small. a dominates b when it is nowhere larger and somewhere smaller. The hypervolume of points
with the reference point r is the volume of the union of the boxes [point, r]; in three dimensions it is swept along
the third one: between two neighbouring values of it lies a slab over the area that the points up to there dominate.

    V = sum_k (z_(k+1) - z_k) A({p : p_3 <= z_k}),        z_(n+1) = r_3

Spearman's coefficient is Pearson's of the ranks, equal values sharing the mean of their ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, ...]


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether `a` is nowhere larger than `b` and somewhere smaller."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other one dominates; of equal ones the first."""
    kept = []
    for i, point in enumerate(points):
        beaten = any(
            dominates(other, point) or (j < i and tuple(other) == tuple(point))
            for j, other in enumerate(points)
        )
        if not beaten:
            kept.append(i)
    return kept


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume that three-dimensional points dominate below `reference`; points beyond it count nothing."""
    inside = sorted(
        (tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))),
        key=lambda p: p[2],
    )
    volume = 0.0
    for k, point in enumerate(inside):
        above = inside[k + 1][2] if k + 1 < len(inside) else reference[2]
        if above > point[2]:
            volume += (above - point[2]) * _area([p[:2] for p in inside[: k + 1]], reference)
    return volume


def _area(points: Sequence[Point], reference: Sequence[float]) -> float:
    area, lowest = 0.0, float(reference[1])
    for x, y in sorted(points):
        if y < lowest:
            area += (reference[0] - x) * (lowest - y)
            lowest = y
    return area


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation, or None when there are fewer than 3 pairs or all values of a side are equal."""
    if len(a) < 3:  # noqa: PLR2004 - two pairs are always in line
        return None
    x, y = _ranks(a), _ranks(b)
    mean = (len(a) - 1) / 2
    xx = sum((v - mean) ** 2 for v in x)
    yy = sum((v - mean) ** 2 for v in y)
    if not xx or not yy:
        return None
    return sum((v - mean) * (w - mean) for v, w in zip(x, y, strict=True)) / math.sqrt(xx * yy)


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            ranks[order[place]] = (start + end) / 2
        start = end + 1
    return ranks
