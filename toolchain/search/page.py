"""search.html: the points that a search measured, its front, and how it did against random search."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.report.bars import Figure
from edgepack.toolchain.report.document import rendered
from edgepack.toolchain.search import words

if TYPE_CHECKING:
    from edgepack.toolchain.search.results import Point, SearchResults

TEMPLATE = Path(__file__).parent / "templates" / "search.html"
_COLOURS = {"search": "#2468c9", "random": "#c9463b", "uniform": "#0b6a3c"}
_SYMBOLS = {"search": "circle", "random": "diamond", "uniform": "square"}
_SMALLEST, _LARGEST = 7, 26  # of markers, in pixels


def html(results: SearchResults) -> bytes:
    """The page in UTF-8."""
    drawn = figures(results)
    view = {
        "results": results,
        "head": words.HEAD,
        "rows": list(words.front_rows(results)),
        "sentences": words.sentences(results),
        "conditions": words.conditions(results),
        "figures": drawn,
    }
    return rendered(TEMPLATE, view, drawn)


def figures(results: SearchResults) -> list[Figure]:
    """The points, and the hypervolume as it grew."""
    search = words.NAMES[results.sampler]
    return [
        _figure(
            "pareto",
            "Quality against latency",
            (
                "Every candidate that was measured; left is faster, down is closer to fp32, a larger marker "
                "is a larger file. Open markers failed the gate. The line joins the front of all that passed."
            ),
            _pareto(results, search),
        ),
        _figure(
            "convergence",
            f"{search} against random search",
            "Hypervolume of what passed the gate, after each candidate of either side; higher is better.",
            _convergence(results, search),
        ),
    ]


def _figure(id_: str, title: str, caption: str, spec: dict[str, Any]) -> Figure:
    return Figure(id_, title, caption, f"{title}; the front is in the table below", spec)


def _pareto(results: SearchResults, search: str) -> dict[str, Any]:
    names = {"search": search, "random": "random", "uniform": "all layers alike"}
    largest = max((point.measured.size_bytes for point in results.points), default=1)
    data = []
    for side, name in names.items():
        shown = [point for point in results.points if point.side == side]
        if not shown:
            continue
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": name,
                "x": [point.measured.latency for point in shown],
                "y": [point.measured.loss for point in shown],
                "text": [_hover(results, point) for point in shown], "hoverinfo": "text",
                "error_x": {
                    "type": "data", "thickness": 1, "width": 0,
                    "array": [(p.measured.latency_high or p.measured.latency) - p.measured.latency for p in shown],
                    "arrayminus": [p.measured.latency - (p.measured.latency_low or p.measured.latency) for p in shown],
                },
                "marker": {
                    "color": _COLOURS[side], "opacity": 0.8,
                    "symbol": [_SYMBOLS[side] + ("" if p.measured.parity.passed else "-open") for p in shown],
                    "size": [_marker(p.measured.size_bytes / largest) for p in shown],
                },
            }
        )  # fmt: skip
    by_label = {point.label: point for point in results.points}
    best = [by_label[label] for label in results.front]
    line = {
        "type": "scatter", "mode": "lines", "name": "front", "hoverinfo": "skip",
        "x": [point.measured.latency for point in best], "y": [point.measured.loss for point in best],
        "line": {"color": "#888888", "dash": "dot", "width": 1},
    }  # fmt: skip
    return {"data": [line, *data], "layout": _layout("time of a call / fp32's", f"loss ({results.metric})")}


def _marker(share: float) -> float:
    return _SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(share)


def _hover(results: SearchResults, point: Point) -> str:
    import html as escaping

    from edgepack.toolchain.report import text

    measured = point.measured
    lines = (
        point.label, f"{1 / measured.latency:.2f}x as fast as fp32", f"loss {measured.loss:.3g}",
        text.size(measured.size_bytes), words.forms(results, point),
    )  # fmt: skip
    return "<br>".join(escaping.escape(line) for line in lines)


def _convergence(results: SearchResults, search: str) -> dict[str, Any]:
    data = [
        {
            "type": "scatter", "mode": "lines", "name": search if side.side == "search" else "random",
            "x": list(range(1, len(side.convergence) + 1)), "y": side.convergence,
            "line": {"color": _COLOURS[side.side], "shape": "hv", "dash": "solid" if side.side == "search" else "dot"},
        }
        for side in results.sides
    ]  # fmt: skip
    return {"data": data, "layout": _layout("candidates measured", "hypervolume")}


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "height": 460, "margin": {"l": 70, "r": 20, "t": 10, "b": 50}, "legend": {"orientation": "h", "y": -0.2},
        "xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}},
    }  # fmt: skip
