# ruff: noqa: INP001 - a script, not a package
"""Prints the tables of the quantizers' options as Markdown, from their classes; docs/quantization.md holds them.

python tools/quantizer_options_table.py                          print them
python tools/quantizer_options_table.py docs/quantization.md     put them between the file's markers
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from edgepack.quantize.base import quantizers
from edgepack.quantize.options import is_fixed, takes
from edgepack.toolchain import markdown

PLACE = markdown.Place("<!-- options: written by tools/quantizer_options_table.py -->", "<!-- /options -->")
HEAD = ("Option", "Takes", "Default", "Meaning")


def tables() -> str:
    """A heading and a Markdown table for every quantizer of edgepack's own that a user can tell something."""
    found = []
    for name, quantizer in quantizers.items():
        fields = quantizer.options_type.model_fields.items()
        rows = [_row(option, field) for option, field in fields if not is_fixed(field)]
        if rows and quantizer.__module__.startswith("edgepack."):
            found.append(f"### `{name}`\n\n{markdown.table(HEAD, rows)}")
    return "\n".join(found)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = field.default
    shown = (
        "" if default in {None, ()} else str(default).lower() if isinstance(default, bool) else str(default)
    )
    return (f"`{name}`", takes(field), shown, str(field.description))


def main(files: list[str]) -> None:
    """Print the tables, or put them into the files."""
    made = tables()
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
