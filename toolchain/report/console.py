"""The report in the terminal, as tables of rich. All text goes in as `Text`: no markup is read from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgepack.toolchain.report import tables
from edgepack.toolchain.report.summary import callouts, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, Group, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

    from edgepack.toolchain.report.cells import Cell, Table
    from edgepack.toolchain.results import Manifest

_GAP = 2  # characters between columns
_PROSE = 16  # narrowest column of prose
_FIRM = 24  # a longer name is folded
_STYLES = {"good": "green", "warn": "yellow", "bad": "red", "": ""}
# Kept on one line; and left to report.html, where a terminal's line has no room for them.
_WHOLE = ("Target", "Precision", "Outcome")
_LEFT_OUT = {
    "artifacts": ("Files",),
    "rejected": ("Files",),
    "candidates": ("Size", "On accelerator", "Speed"),
}


def render(manifest: Manifest) -> Group:
    """Summary, tables, how the source was exported, warnings; what is empty is left out."""
    from rich.console import Group
    from rich.text import Text

    states = {"ship": "green", "rejected": "red", "failed": "red", "nothing": "yellow"}
    blocks: list[RenderableType] = [Text(f"edgepack report: {manifest.bundle}", style="bold")]
    for target in summarize(manifest):
        blocks += [Text(f"• {sentence}", style=states[target.state]) for sentence in target.sentences]
    makers = (
        tables.artifacts,
        tables.programs,
        tables.rejected,
        tables.candidates,
        tables.runtimes,
        tables.failures,
    )
    for made in (make(manifest) for make in makers):
        if made.rows:
            blocks += [Text(), _Fitting(made)]
    if manifest.exported:
        blocks += [Text(), *(Text(f"Export: {line}", style="dim") for line in manifest.exported)]
    lines = [Text(f"Warning: {line}", style="yellow") for line in callouts(manifest)]
    return Group(*blocks, *([Text(), *lines] if lines else []))


@dataclass(frozen=True)
class _Fitting:
    """A table if the terminal is wide enough for its figures, else one block of lines per row."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        del console  # rich passes it by name
        places = _kept(self.table)
        widths = _widths(self.table, places, options.max_width)
        if widths is None:
            yield from _records(self.table, places)
        else:
            yield _draw(self.table, places, widths)


def _kept(table: Table) -> list[int]:
    gone = _LEFT_OUT.get(table.id, ())
    return [place for place, column in enumerate(table.columns) if column.title not in gone]


def _widths(table: Table, places: Sequence[int], room: int) -> list[int] | None:
    """Widths that keep figures and their kinds whole and let notes wrap, or None if there is no room."""
    room -= _GAP * (len(places) - 1)
    least, natural = [], []
    for place in places:
        column = table.columns[place]
        cells = [row[place] for row in table.rows]
        head = max(len(word) for word in column.title.split())
        firm = [len(word) for cell in cells for word in (cell.text, cell.badge)]
        whole = max(firm) if column.numeric or column.title in _WHOLE else _PROSE
        longest = max((len(word) for cell in cells for word in cell.note.split()), default=0)
        least.append(max(head, min(whole, _FIRM), min(longest, _PROSE)))
        natural.append(max([len(column.title), *firm, *(len(cell.note) for cell in cells), least[-1]]))
    spare = room - sum(least)
    if spare < 0:
        return None
    wish = sum(natural) - sum(least)
    part = min(1.0, spare / wish) if wish else 0.0
    return [low + int((high - low) * part) for low, high in zip(least, natural, strict=True)]


def _draw(table: Table, places: Sequence[int], widths: Sequence[int]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=Text(table.caption, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )
    for place, width in zip(places, widths, strict=True):
        column = table.columns[place]
        justify: Literal["right", "left"] = "right" if column.numeric else "left"
        drawn.add_column(Text(column.title), justify=justify, overflow="fold", width=width)
    for row in table.rows:
        drawn.add_row(*(_text(row[place], "\n") for place in places))
    return drawn


def _records(table: Table, places: Sequence[int]) -> Iterator[RenderableType]:
    from rich.table import Table as RichTable
    from rich.text import Text

    yield Text(table.caption, style="bold")
    for row in table.rows:
        grid = RichTable.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        for place in places:
            grid.add_row(Text(table.columns[place].title), _text(row[place], "  "))
        yield Text()
        yield grid


def _text(cell: Cell, joint: str) -> Text:
    from rich.text import Text

    made = Text(cell.text, style=_STYLES[cell.tone])
    if cell.badge:
        made.append(f"{joint}{cell.badge}", style="cyan" if cell.badge == "measured" else "yellow")
    if cell.note:
        made.append(f"{joint}{cell.note}", style="dim")
    return made
