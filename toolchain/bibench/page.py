"""bibench.html: the tables, accuracy against speed, and accuracy as corruption grows."""

from __future__ import annotations

import html as escaping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.bibench import words
from edgepack.toolchain.bibench.results import BASELINE
from edgepack.toolchain.report.bars import Figure
from edgepack.toolchain.report.document import rendered

if TYPE_CHECKING:
    from edgepack.toolchain.bibench.results import BibenchResults

TEMPLATE = Path(__file__).parent / "templates" / "bibench.html"
# Each has a contrast of 3 : 1 and more against both the light and the dark surface (WCAG 2.2, 1.4.11).
_COLOURS = ("#2f7de1", "#d6453d", "#1a9150", "#b0700c", "#8e62d9", "#0e8a8a", "#c2478f", "#7a7d18")
_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "hexagon")
_LABEL = 40
"""Longest name in a legend, in characters."""


def html(results: BibenchResults) -> bytes:
    """The page in UTF-8."""
    drawn = figures(results)
    view = {
        "results": results,
        "sections": words.sections(results),
        "sentences": list(words.sentences(results)),
        "reasons": words.reasons(results),
        "conditions": words.conditions(results),
        "figures": drawn,
    }
    return rendered(TEMPLATE, view, drawn)


def figures(results: BibenchResults) -> list[Figure]:
    """Only those for which there is something to draw."""
    made = (_speed(results), _severity(results))
    return [figure for figure in made if figure.spec["data"]]


def _speed(results: BibenchResults) -> Figure:
    """A point for each method, task and architecture that was timed; one colour a method."""
    timed = {(t.method, t.task, t.architecture): t.against_fp32 for t in results.timings}
    data = []
    for index, method in enumerate(results.methods):
        x, y, hover = [], [], []
        for at in words.columns(results):
            cell, fp32 = (words.cell_of(results, name, at) for name in (method.name, BASELINE))
            against = timed.get((method.name, *at))
            if cell and fp32 and against and cell.accuracy is not None and fp32.accuracy:
                x.append(against.ratio)
                y.append(cell.accuracy / fp32.accuracy)
                hover.append(escaping.escape(f"{method.name}: {', '.join(at)}"))
        if x:
            data.append(_trace(method.name, index, x, y) | {"mode": "markers", "text": hover})
    return Figure(
        "speed",
        "Accuracy against speed",
        "One point for each task and architecture; right is faster, up is more accurate, fp32 is at 1 and 1.",
        "Accuracy against speed; all figures are in the tables",
        {"data": data, "layout": _layout("times as fast as fp32", "accuracy / fp32's")},
    )


def _severity(results: BibenchResults) -> Figure:
    """Mean accuracy over corruptions and networks, by severity; one line a method and fp32's dashed."""
    data = []
    for index, name in enumerate(words.names(results)):
        by_severity: dict[int, list[float]] = {}
        for cell in results.cells:
            if cell.method == name:
                for point in cell.corrupted:
                    by_severity.setdefault(point.severity, []).append(point.accuracy)
        if by_severity:
            x = sorted(by_severity)
            trace = _trace(name, index - 1, list(map(float, x)), [fmean(by_severity[s]) for s in x])
            if name == BASELINE:
                trace["line"] = {"color": "#888888", "dash": "dash"}
                trace["marker"]["color"] = "#888888"
            data.append(trace)
    return Figure(
        "severity",
        "Accuracy under corruption",
        "Mean over all corruptions and the networks for images; severity 0 is the image as it is.",
        "Accuracy under corruption; all figures are in the tables",
        {"data": data, "layout": _layout("severity", "accuracy")},
    )


def _trace(name: str, index: int, x: list[float], y: list[float]) -> dict[str, Any]:
    colour, symbol = _COLOURS[index % len(_COLOURS)], _SYMBOLS[index % len(_SYMBOLS)]
    short = name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
    return {
        "type": "scatter", "mode": "lines+markers", "name": escaping.escape(short), "x": x, "y": y,
        "line": {"color": colour}, "marker": {"color": colour, "symbol": symbol, "size": 9},
    }  # fmt: skip


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "height": 440, "margin": {"l": 60, "r": 20, "t": 16, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}},
    }  # fmt: skip
