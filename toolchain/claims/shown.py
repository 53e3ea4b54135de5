"""A claim's results in the terminal and as Markdown between two markers of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims import text
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.markdown import Place, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgepack.toolchain.claims.base import Claim
    from edgepack.toolchain.claims.results import ClaimResults


def terminal(claim: Claim, results: ClaimResults) -> RenderableType:
    """A table, the sentences, and how it was measured."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=claim.paper)
    for index, title in enumerate(text.head(results)):
        shown.add_column(title, justify="left" if index in {0, 3} else "right")
    for row in text.rows(claim, results):
        shown.add_row(*map(Text, row))
    lines = [Text(line) for line in text.sentences(claim, results)]
    return Group(shown, *lines, *(Text(line, style="dim") for line in text.conditions(results)))


def markdown(claim: Claim, results: ClaimResults) -> str:
    """The same as a section of a document."""
    link = f"[{claim.paper}](https://arxiv.org/abs/{claim.arxiv})" if claim.arxiv else claim.paper
    says = "; ".join(f"{s.value} {s.says} ({s.where})" for s in claim.statements)
    head, *rows = (
        [cell.replace("|", "\\|") for cell in row] for row in (text.head(results), *text.rows(claim, results))
    )
    lines = [
        f"{link} says: {says}.",
        "",
        f"    {results.command}",
        "",
        table(head, rows),
        *(f"- {line}" for line in text.conditions(results)),
    ]
    return "\n".join(lines) + "\n"


def place(claim: Claim, results: ClaimResults) -> Place:
    """The place after a comment such as "<!-- claim return-of-the-encoder 30m -->"."""
    sizes = dict.fromkeys(str(point.at["size"]) for point in results.points if "size" in point.at)
    name = " ".join(["claim", claim.name, *sizes])
    return Place(f"<!-- {name} -->", f"<!-- /{name} -->")


def put(document: str, claim: Claim, results: ClaimResults) -> str:
    """`document` with the section between the markers of the claim and the sizes that were measured.

    Raises:
        UsageError: There is not exactly one pair of markers.
    """
    try:
        return place(claim, results).put(document, markdown(claim, results))
    except ValueError as error:
        raise UsageError(
            str(error), where="--markdown", todo="Put them where the table is to stand"
        ) from error
