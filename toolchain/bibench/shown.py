"""The table in the terminal, and as Markdown between two markers of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.bibench import words
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.markdown import Place, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgepack.toolchain.bibench.results import BibenchResults

PLACE = Place("<!-- bibench -->", "<!-- /bibench -->")


def terminal(results: BibenchResults) -> RenderableType:
    """The tables, why figures are missing, and how it was made."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    for section in words.sections(results):
        drawn = Table(title=section.title, caption=section.note)
        for index, title in enumerate(section.head):
            drawn.add_column(title, justify="right" if index else "left")
        for row in section.rows:
            drawn.add_row(*map(Text, row))
        shown.append(drawn)
    lines = [Text(line) for line in (*words.sentences(results), *words.reasons(results))]
    return Group(*shown, *lines, *(Text(line, style="dim") for line in words.conditions(results)))


def markdown(results: BibenchResults) -> str:
    """The same as sections of a document."""
    parts = [f"    {results.command}\n", "".join(f"{line}\n" for line in words.sentences(results))]
    for section in words.sections(results):
        head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in (section.head, *section.rows))
        note = section.note[0].upper() + section.note[1:]
        parts.append(f"## {section.title}\n\n{note}.\n\n{table(head, rows, range(1, len(head)))}")
    missing = words.reasons(results)
    if missing:
        parts.append("## What is missing, and why\n\n" + "".join(f"- {line}\n" for line in missing))
    parts.append("## How it was made\n\n" + "".join(f"- {line}\n" for line in words.conditions(results)))
    return "\n".join(parts)


def put(document: str, results: BibenchResults) -> str:
    """`document` with the table between its markers.

    Raises:
        UsageError: There is not exactly one pair of markers.
    """
    try:
        return PLACE.put(document, markdown(results))
    except ValueError as error:
        raise UsageError(
            str(error), where="--markdown", todo="Put them where the table is to stand"
        ) from error
