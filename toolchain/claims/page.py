"""claim.html: what a paper says, and both sides' figures as they were measured here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.claims import text
from edgepack.toolchain.report.bars import Figure
from edgepack.toolchain.report.document import rendered

if TYPE_CHECKING:
    from edgepack.toolchain.claims.base import Claim, Statement
    from edgepack.toolchain.claims.results import ClaimResults, Value

TEMPLATE = Path(__file__).parent / "templates" / "claim.html"
# Each has a contrast of 3 : 1 and more against both the light and the dark surface (WCAG 2.2, 1.4.11).
_COLOURS = ("#2f7de1", "#d6453d", "#1a9150", "#b0700c", "#8e62d9")
_LABEL = 60
"""Longest name in a legend, in characters."""
_MARKERS = ("circle", "square", "diamond", "cross", "x")


def html(claim: Claim, results: ClaimResults) -> bytes:
    """The page in UTF-8."""
    drawn = figures(claim, results)
    view = {
        "claim": claim,
        "results": results,
        "head": text.head(results),
        "rows": list(text.rows(claim, results)),
        "findings": _findings(claim, results),
        "conditions": text.conditions(results),
        "figures": drawn,
    }
    return rendered(TEMPLATE, view, drawn)


def _findings(claim: Claim, results: ClaimResults) -> list[tuple[str, list[tuple[str, str]]]]:
    """For every statement what the paper says, and (where, how much better here) for every value."""
    found = []
    for statement in claim.statements:
        here = [
            (text.setting(point, value), text.better(value, statement.words))
            for point in results.points
            for value in point.values
            if value.name == statement.value
        ]
        if here:
            found.append((f"{statement.value}: the paper says {statement.says} ({statement.where})", here))
    return found


def figures(claim: Claim, results: ClaimResults) -> list[Figure]:
    """For every statement the ratio over input lengths, then both sides' medians."""
    drawn = []
    for index, statement in enumerate(claim.statements):
        lines = _lines(results, statement.value)
        if lines:
            title = f"{statement.value}: how many times better"
            drawn.append(_figure(f"ratio-{index}", title, _ratio(statement, lines)))
            unit = next(iter(lines.values()))[0][1].unit
            drawn.append(
                _figure(f"sides-{index}", f"{statement.value}, {unit}", _sides(results, lines, unit))
            )
    return drawn


def _figure(id_: str, title: str, spec: dict[str, Any]) -> Figure:
    return Figure(id_, title, "", f"{title}; all numbers are in the table below", spec)


def _lines(results: ClaimResults, name: str) -> dict[str, list[tuple[int, Value]]]:
    """(input length, value) by what else distinguishes them."""
    lines: dict[str, list[tuple[int, Value]]] = {}
    for point in results.points:
        for value in point.values:
            if value.name == name:
                label = ", ".join([str(point.at.get("size", "")), *(f"{k} {v}" for k, v in value.at.items())])
                lines.setdefault(label, []).append((int(point.at["input"]), value))
    return lines


def _ratio(statement: Statement, lines: dict[str, list[tuple[int, Value]]]) -> dict[str, Any]:
    data: list[dict[str, Any]] = []
    for i, (label, values) in enumerate(lines.items()):
        ends = [
            ((v.ci_high or v.ratio) - v.ratio, v.ratio - (v.ci_low if v.ci_low is not None else v.ratio))
            for _, v in values
        ]
        error = {"type": "data", "array": [e[0] for e in ends], "arrayminus": [e[1] for e in ends]}
        data.append(_trace(label, i, [x for x, _ in values], [v.ratio for _, v in values], error_y=error))
    lengths = sorted({x for values in lines.values() for x, _ in values})
    if statement.ratio is not None:
        paper = {
            "type": "scatter", "mode": "lines", "name": f"paper: {statement.says}",
            "x": lengths, "y": [statement.ratio] * len(lengths), "line": {"dash": "dash", "color": "#888888"},
        }  # fmt: skip
        data.append(paper)
    return {"data": data, "layout": _layout(lengths, "times better")}


def _sides(results: ClaimResults, lines: dict[str, list[tuple[int, Value]]], unit: str) -> dict[str, Any]:
    data = []
    for i, (label, values) in enumerate(lines.items()):
        for side, dash in zip(results.sides, ("solid", "dot"), strict=True):
            trace = _trace(
                f"{side}, {label}", i, [x for x, _ in values], [v.medians[side] for _, v in values]
            )
            trace["line"]["dash"] = dash
            data.append(trace)
    lengths = sorted({x for values in lines.values() for x, _ in values})
    ticks = _ticks([y for trace in data for y in trace["y"] if y > 0])
    yaxis = _axis(unit) | {
        "type": "log", "tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks],
    }  # fmt: skip
    return {"data": data, "layout": _layout(lengths, unit) | {"yaxis": yaxis}}


def _ticks(values: list[float]) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten around `values`; few decades have all three, many only the ones."""
    if not values:
        return []
    low, high = (math.floor(math.log10(end)) for end in (min(values), max(values)))
    factors = (1, 2, 5) if high - low < 3 else (1,)  # noqa: PLR2004 - up to nine labels
    return [factor * 10.0**power for power in range(low, high + 2) for factor in factors]


def _trace(name: str, index: int, x: list[int], y: list[float], **more: Any) -> dict[str, Any]:
    colour, symbol = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
    return {
        "type": "scatter", "mode": "lines+markers", "name": _label(name), "x": x, "y": y,
        "line": {"color": colour}, "marker": {"color": colour, "symbol": symbol, "size": 9}, **more,
    }  # fmt: skip


def _label(name: str) -> str:
    """A legend's text: not read as markup, and no wider than a plot."""
    short = name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _layout(lengths: list[int], unit: str) -> dict[str, Any]:
    ticks = {"type": "log", "tickvals": lengths, "ticktext": list(map(str, lengths))}
    return {
        "height": 340, "margin": {"l": 60, "r": 20, "t": 16, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": _axis("input length") | ticks, "yaxis": _axis(unit) | {"rangemode": "tozero"},
    }  # fmt: skip


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": _label(title)}}
