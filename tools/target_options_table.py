# ruff: noqa: INP001 - a script, not a package
"""Prints the table of the targets' options as Markdown, from their classes; docs/targets.md holds it.

python tools/target_options_table.py                     print it
python tools/target_options_table.py docs/targets.md     put it between the file's markers
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgepack.targets.base import targets
from edgepack.toolchain import markdown
from edgepack.toolchain.options import Options, takes

PLACE = markdown.Place("<!-- target options: written by `make docs` -->", "<!-- /target options -->")
HEAD = ("Targets", "Option", "Takes", "Meaning")


def table() -> str:
    """The Markdown table: a row for each option of edgepack's own targets, which share one class or have their own."""
    owners: dict[type[Options], list[str]] = {}
    for name, kind in targets.items():
        if kind.__module__.startswith("edgepack."):
            owners.setdefault(kind.options_type, []).append(f"`{name}`")
    return markdown.table(
        HEAD,
        (
            (", ".join(names), f"`{option}`", takes(field), str(field.description))
            for options, names in owners.items()
            for option, field in options.model_fields.items()
        ),
    )


def main(files: list[str]) -> None:
    """Print the table, or put it into the files."""
    made = table()
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
