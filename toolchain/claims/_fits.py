"""How a cost grows with length: the exponent of c n^e, the slope of log cost over log n by least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgepack.toolchain.claims.results import Fit, Point

FEWEST = 4
"""Lengths below which no exponent is fitted."""


def exponent(costs: Mapping[float, float]) -> float:
    """The slope of log cost over log length.

    Args:
        costs: Cost by length, all positive, of two lengths or more.
    """
    xs, ys = [math.log(n) for n in costs], [math.log(cost) for cost in costs.values()]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def fits(points: Sequence[Point], power: int = 1) -> list[Fit]:
    """An exponent for every size, cost (what is better lower) and side that was got at `FEWEST` lengths.

    Args:
        points: As measured.
        power: What a length counts as: n^power.
    """
    series: dict[tuple[str, str, str], dict[float, float]] = {}
    for point in points:
        for value in point.values:
            if value.better == "lower":
                for side, median in value.medians.items():
                    key = (str(point.at["size"]), value.name, side)
                    series.setdefault(key, {})[float(int(point.at["input"]) ** power)] = median
    return [
        Fit(
            size=size, value=name, side=side, exponent=exponent(costs), lengths=len(costs), shortest=int(min(costs)),
            longest=int(max(costs)),
        )
        for (size, name, side), costs in series.items()
        if len(costs) >= FEWEST
    ]  # fmt: skip
