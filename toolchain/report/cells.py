"""Cell, Column, Table: one description of a table that HTML, Markdown and the terminal all draw.

The makers below turn a result into a cell: the figure, a second line with what qualifies it
(interval, gate, reason for its absence), and the key that it sorts by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgepack.toolchain.report import text
from edgepack.toolchain.results import Comparison, Latency, Memory, MetricResult, Parity, Placement

Tone = Literal["", "good", "warn", "bad"]

_TONES: dict[bool, Tone] = {True: "good", False: "bad"}
NOT_GIVEN = "not given by the estimate"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says; `text.DASH` for a figure that was not obtained.
        note: A second, smaller line: interval, gate, or why there is no figure.
        detail: What a narrow terminal can leave out.
        sort: Number that the cell sorts by; None sorts by its text.
        tone: Good, bad or doubtful news; never the only carrier of it.
        badge: The kind of a figure ("measured", "vendor-estimate", ...).
        items: A long list behind the text, such as node names.
        code: Whether the text is an identifier.
    """

    text: str
    note: str = ""
    sort: float | None = None
    tone: Tone = ""
    badge: str = ""
    items: tuple[str, ...] = ()
    code: bool = False
    detail: str = ""

    @property
    def missing(self) -> bool:
        """Whether the figure was not obtained; such cells sort last either way."""
        return self.text == text.DASH


@dataclass(frozen=True)
class Column:
    """Heading of a column; numbers are set to the right."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table with an identifier of its own (for links and tests) and a caption."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def table(id_: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """A table whose numeric columns are marked by a leading '#' in their titles."""
    heads = tuple(Column(title.removeprefix("#"), title.startswith("#")) for title in columns)
    for row in rows:
        if len(row) != len(heads):
            msg = f"table {id_}: {len(row)} cells for {len(heads)} columns"
            raise ValueError(msg)
    return Table(id_, caption, heads, tuple(tuple(row) for row in rows))


def missing(reason: str = "") -> Cell:
    """The cell of a figure that was not obtained."""
    return Cell(text.DASH, reason)


def name(value: str | None, note: str = "", detail: str = "") -> Cell:
    """An identifier."""
    return Cell(value, note, code=True, detail=detail) if value else missing(note)


def number(value: float | None, formatted: str, note: str = "", tone: Tone = "") -> Cell:
    """A figure with its formatted text; None gives the em dash."""
    if value is None:
        return missing(note)
    return Cell(formatted, note, value if math.isfinite(value) else None, tone)


def count(value: int | None, note: str = "") -> Cell:
    """A whole number."""
    return number(value, f"{value:,}" if value is not None else "", note)


def size(value: int | None, note: str = "") -> Cell:
    """Bytes."""
    return number(value, text.size(value), note)


def time(value: float | None, note: str = "") -> Cell:
    """Milliseconds."""
    return number(value, text.milliseconds(value), note)


def interval(latency: Latency) -> str:
    """The 95 % confidence interval of the median in words, or nothing."""
    if latency.ci_low_ms is None or latency.ci_high_ms is None:
        return ""
    low, high = text.milliseconds(latency.ci_low_ms), text.milliseconds(latency.ci_high_ms)
    unit = low.rpartition(" ")[2]
    if unit == high.rpartition(" ")[2]:  # the unit once
        low = low.removesuffix(f" {unit}")
    return f"95 %: {low} to {high}"


def latency(value: Latency | None, reason: str = "") -> Cell:
    """Median time of a call with its interval and kind; what it leaves out is said in the timing table."""
    if value is None:
        return missing(reason or "not timed")
    within = interval(value)
    detail = "" if within or value.kind == "measured" else "no interval: not a measurement"
    return Cell(text.milliseconds(value.p50_ms), within, value.p50_ms, badge=value.kind, detail=detail)


def comparison(value: Comparison | None) -> Cell:
    """Ratio to the baseline with its interval and verdict."""
    if value is None:
        return missing("not compared")
    tones: dict[str, Tone] = {"faster": "good", "slower": "bad"}
    tone = tones.get(value.verdict, "")
    between = f"{text.ratio(value.ci_low)} to {text.ratio(value.ci_high)}"
    note = f"{value.verdict} than {value.baseline}" if tone else f"can't tell from {value.baseline}"
    return Cell(text.ratio(value.ratio), note, value.ratio, tone, detail=f"95 %: {between}")


def metric(value: MetricResult | None) -> Cell:
    """The user's metric, with fp32's number."""
    if value is None:
        return Cell(text.DASH)
    note = f"{value.name}, fp32 {text.significant(value.reference)}, {value.better} is better"
    return Cell(text.significant(value.value), note, value.value)


def memory(value: Memory | None) -> Cell:
    """Peak memory, with the part that was there before the artifact was loaded."""
    if value is None:
        return missing("not measured")
    detail = "" if value.baseline_bytes is None else f"{text.size(value.baseline_bytes)} before loading"
    return Cell(text.size(value.peak_bytes), "", value.peak_bytes, badge=value.kind, detail=detail)


def parity(value: Parity | None) -> Cell:
    """Agreement with the reference: the cosine if there is one, and whether the gate held."""
    if value is None:
        return missing("not verified")
    if value.unverified is not None:
        return missing(f"not verified: {value.unverified}")
    if value.cosine is None:
        return verdict(value)
    note = "passed" if value.passed else ": ".join(["failed", *filter(None, ["; ".join(value.failed)])])
    return Cell(text.cosine(value.cosine), note, value.cosine, _TONES[value.passed])


def verdict(value: Parity) -> Cell:
    """Whether the gate held, which lines of it did not, and what it asks for."""
    if value.unverified is not None and value.passed:
        return missing(f"not verified: {value.unverified}")
    limits = text.gate(value.gate)
    detail = f"asks for {limits}" if limits else "no limits were set"
    shown = "passed" if value.passed else "failed"
    return Cell(shown, "; ".join(value.failed), None, _TONES[value.passed], detail=detail)


def placement_share(value: Placement) -> float | None:
    """Operators on the accelerator as a share of all; None where there is no accelerator or operator."""
    total = value.accelerator + value.cpu
    return value.accelerator / total if value.device is not None and total else None


def placement(value: Placement | None) -> Cell:
    """Share of the operators that run on the accelerator."""
    if value is None:
        return missing("not known")
    part = placement_share(value)
    if part is None:
        total = value.accelerator + value.cpu
        return Cell(text.DASH, f"{total:,} on the CPU" if total else "not counted")
    note = f"{value.accelerator:,} on {value.device}, {value.cpu:,} on the CPU"
    return Cell(text.share(part), note, part, "" if value.cpu == 0 else "warn")


def drawn(items: Sequence[str], noun: str) -> Cell:
    """A list that is shown by its count, or by its only member."""
    if len(items) == 1:
        return Cell(items[0], code=True, sort=1)
    return Cell(text.plural(len(items), noun), sort=len(items), items=tuple(items))
