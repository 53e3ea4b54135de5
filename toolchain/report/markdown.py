"""report.md: the tables that a reviewer needs, for a pull request or a pager.

Names are code spans, in which Markdown reads nothing; prose is escaped. So no text of a model or
a tool becomes a link, an image, markup or a table cell of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgepack.toolchain.report import details, facts, tables
from edgepack.toolchain.report.summary import callouts, summarize

if TYPE_CHECKING:
    from edgepack.toolchain.report.cells import Cell, Table
    from edgepack.toolchain.results import Manifest

_ACTIVE = re.compile(r"([\\`*_\[\]<>|~&$!#@])")
_SCHEME = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")


def markdown(manifest: Manifest) -> str:
    """The report; `manifest` must have gone through `text.cleaned`."""
    parts = [f"# edgepack report: {prose(manifest.bundle)}"]
    parts.append(
        f"{prose(manifest.source.kind)} {code(manifest.source.location)}, made {prose(manifest.created)} "
        f"with edgepack {prose(manifest.edgepack)}."
    )
    warnings = callouts(manifest)
    if warnings:
        parts.append("## Warnings\n\n" + "\n".join(f"- {prose(line)}" for line in warnings))
    lines = [prose(sentence) for target in summarize(manifest) for sentence in target.sentences]
    parts.append("## Summary\n\n" + "\n".join(f"- {line}" for line in lines or ["This run had no target."]))
    everything = [*manifest.artifacts, *manifest.rejected]
    made = [
        tables.artifacts(manifest),
        tables.programs(manifest),
        tables.failures(manifest),
        tables.candidates(manifest),
        tables.runtimes(manifest),
        tables.timing(manifest),
        tables.metrics(manifest),
        details.accuracy(manifest),
        tables.rejected(manifest),
        *(details.worst(i, a) for i, a in enumerate(manifest.rejected)),
        *(details.reasons(i, a) for i, a in enumerate(everything)),
        *(details.operators(i, a, a.profile) for i, a in enumerate(everything) if a.profile),
        tables.calibration(manifest),
        details.stage_parity(manifest),
        details.stages(manifest),
    ]
    parts += [_draw(table) for table in made if table.rows]
    for title, rows in (
        ("Source", facts.source(manifest.source)),
        ("Machine", facts.environment(manifest.environment)),
    ):
        parts.append(f"## {title}\n\n" + "\n".join(f"- {label}: {_cell(cell)}" for label, cell in rows))
    if manifest.exported:
        parts.append("## Export\n\n" + "\n".join(f"- {prose(line)}" for line in manifest.exported))
    parts.append("## Reproduce\n\n" + _block(manifest.command))
    return "\n\n".join(parts) + "\n"


def prose(text: str) -> str:
    """Text in which no character means anything to Markdown; one line."""
    escaped = _ACTIVE.sub(r"\\\1", " ".join(text.split()))
    # An escaped colon or dot keeps bare addresses from becoming links.
    return _SCHEME.sub(lambda match: match[0] + "\\", escaped)


def code(text: str) -> str:
    """Text as a code span; a bar is escaped because tables split at it even there."""
    line = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|") if line else ""


def _block(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _cell(cell: Cell) -> str:
    shown = code(cell.text) if cell.code else prose(cell.text)
    if cell.badge:
        shown = f"{shown} *{prose(cell.badge)}*".strip()
    if cell.items:
        more = len(cell.items) - 3
        shown += (
            ": "
            + ", ".join(code(item) for item in cell.items[:3])
            + (f" and {more} more" if more > 0 else "")
        )
    return "<br>".join(part for part in (shown, prose(cell.note), prose(cell.detail)) if part)


def _draw(table: Table) -> str:
    head = "| " + " | ".join(prose(column.title) for column in table.columns) + " |"
    rule = "|" + "|".join(" ---: " if column.numeric else " --- " for column in table.columns) + "|"
    rows = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return f"## {prose(table.caption)}\n\n" + "\n".join([head, rule, *rows])
