"""Markdown in pages that people write too: tables, and the place between two comments that a program fills."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_OF = re.compile(r"<!-- of (.+?) -->\n(.*?)(?=<!-- of |\Z)", re.DOTALL)


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

    def put_of(self, text: str, of: str, made: str) -> str:
        """`text` with `made` between the two comments as what was found for `of`; what stands for others stays.

        For figures that each processor has its own of. Errors as of `put`.
        """
        kept = dict(_OF.findall(text.partition(self.begin)[2].partition(self.end)[0]))
        kept[of] = f"{made.strip()}\n"
        blocks = [f"<!-- of {name} -->\n\n{kept[name].strip()}\n" for name in sorted(kept)]
        return self.put(text, "\n".join(blocks))

    def write(self, made: str, files: Iterable[Path], *, of: str | None = None) -> None:
        """Put `made` into pages, with `of` beside what stands there for others; errors as of `put`."""
        for path in files:
            text = path.read_text(encoding="utf-8")
            path.write_text(
                self.put(text, made) if of is None else self.put_of(text, of, made), encoding="utf-8"
            )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table of cells that are Markdown already, in which a bar is escaped.

    Args:
        head: The columns' titles.
        rows: As many cells each.
        right: Columns that are aligned to the right.
    """
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))
