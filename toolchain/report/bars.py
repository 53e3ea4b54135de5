"""Horizontal bars as plain plotly figures: dictionaries that plotly.js draws in the page.

Plotly's Python classes take longer to import than the whole report may cost, so the figures are
written out here. Two things are left to the page's script, which alone knows width and colour
scheme: a colour is the name of a CSS variable ("--ship"), and the row labels above the bars are
raw text that it shortens to fit and escapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ROW_PX = 48  # label and bar of one row
_AXIS_PX = 50
_TOP, _BOTTOM = 0.85, 0.7  # where the vertical axis begins and ends, in rows beside the first and last bar

# What a bar stands for: its legend's words, colour and hatching (so that colour is never alone).
STATUS = {
    "ship": ("to ship", "--ship", ""),
    "considered": ("considered, not chosen", "--considered", ""),
    "rejected": ("rejected by its gate", "--rejected", "x"),
}
_ESTIMATE_HATCH = "/"


@dataclass(frozen=True)
class Bar:
    """One row: what it is, its value in the axis' unit, how the value is written, and what hovering adds."""

    label: str
    value: float
    shown: str
    hover: str
    status: str = "ship"
    low: float | None = None
    high: float | None = None
    base: float | None = None


@dataclass(frozen=True)
class Figure:
    """A plot with its title, a caption in words, and a description for who cannot see it."""

    id: str
    title: str
    caption: str
    description: str
    spec: dict[str, Any]
    badge: str = ""
    legend: tuple[tuple[str, str], ...] = ()


def figure(id_: str, title: str, caption: str, bars: Sequence[Bar], axis: str, *, kind: str = "") -> Figure:
    """A figure of horizontal bars; whatever was not measured or counted is hatched."""
    statuses = tuple((status, STATUS[status][0]) for status in dict.fromkeys(bar.status for bar in bars))
    described = f"{title}: " + "; ".join(f"{bar.label} {bar.shown}" for bar in bars)
    drawn = _spec(bars, axis, hatched=kind in {"vendor-estimate", "simulated"})
    # A legend only where more than one sort of bar has to be told apart.
    return Figure(id_, title, caption, described, drawn, kind, statuses if len(statuses) > 1 else ())


def _spec(bars: Sequence[Bar], axis: str, *, hatched: bool = False) -> dict[str, Any]:
    """Horizontal bars, one row each, a trace per status.

    A value that is not a number keeps its row and its words, and has no bar.
    """
    traces = []
    for status in dict.fromkeys(bar.status for bar in bars):
        name, color, hatch = STATUS[status]
        rows = [(place, bar) for place, bar in enumerate(bars) if bar.status == status]
        based = [(place, bar) for place, bar in rows if bar.base is not None]
        trace = _trace(
            rows, [bar.value for _, bar in rows], name, color, _ESTIMATE_HATCH if hatched else hatch
        )
        if any(bar.low is not None and bar.high is not None for _, bar in rows):
            trace["error_x"] = _whiskers([bar for _, bar in rows])
        traces.append(trace)
        if based:
            pale = _trace(based, [bar.base for _, bar in based], "", "--pale", "")
            traces.append(pale | {"showlegend": False, "opacity": 0.62})
    return {
        "data": traces,
        "labels": [{"y": place, "left": bar.label, "right": bar.shown} for place, bar in enumerate(bars)],
        "layout": {
            "height": round(ROW_PX * (len(bars) + _TOP - _BOTTOM)) + _AXIS_PX,
            "margin": {"l": 8, "r": 14, "t": 0, "b": _AXIS_PX, "pad": 0},
            "barmode": "overlay",
            "dragmode": False,
            "showlegend": False,
            "xaxis": {
                "title": {"text": axis, "standoff": 6},
                "rangemode": "tozero",
                "fixedrange": True,
                "zeroline": False,
                "nticks": 6,
            },
            "yaxis": {"visible": False, "fixedrange": True, "range": [len(bars) - _BOTTOM, -_TOP]},
        },
    }


def _trace(
    rows: Sequence[tuple[int, Bar]], values: Sequence[float | None], name: str, color: str, hatch: str
) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": color}
    if hatch:
        marker["pattern"] = {"shape": hatch, "size": 6, "solidity": 0.35, "fillmode": "replace"}
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": [value if value is not None and math.isfinite(value) else None for value in values],
        "y": [place for place, _ in rows],
        "width": 0.4,
        "hovertext": [bar.hover for _, bar in rows],
        "hoverinfo": "text",
        "marker": marker,
    }


def _whiskers(bars: Sequence[Bar]) -> dict[str, Any]:
    above: list[float | None] = []
    below: list[float | None] = []
    for bar in bars:
        ends = (bar.low, bar.high)
        known = all(end is not None and math.isfinite(end) for end in ends) and math.isfinite(bar.value)
        above.append(max(0.0, (bar.high or 0) - bar.value) if known else None)
        below.append(max(0.0, bar.value - (bar.low or 0)) if known else None)
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "color": "--text",
        "thickness": 1.6,
        "width": 5,
    }
