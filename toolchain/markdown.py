"""Markdown in pages that people write too: tables, and the place between two comments that a program fills."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a page has what a program wrote.

    Attributes:
        begin: The comment before it, which says what writes it.
        end: The comment after it.
    """

    begin: str
    end: str

    def put(self, text: str, made: str) -> str:
        """`text` with `made` between the two comments.

        Raises:
            ValueError: There is not exactly one pair of them.
        """
        if text.count(self.begin) != 1 or text.count(self.end) != 1:
            msg = f"The markers {self.begin} and {self.end} are not there once each"
            raise ValueError(msg)
        head, _, rest = text.partition(self.begin)
        return f"{head}{self.begin}\n\n{made}\n{self.end}{rest.partition(self.end)[2]}"

    def write(self, made: str, files: Iterable[Path]) -> None:
        """Put `made` into pages; errors as of `put`."""
        for path in files:
            path.write_text(self.put(path.read_text(encoding="utf-8"), made), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table of cells that are Markdown already, in which a bar is escaped.

    Args:
        head: The columns' titles.
        rows: As many cells each.
        right: Columns that are aligned to the right.
    """
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))
