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

BEGIN = "<!-- options: written by tools/quantizer_options_table.py -->"
END = "<!-- /options -->"
HEAD = ("Option", "Takes", "Default", "Meaning")


def tables() -> str:
    """A heading and a Markdown table for every quantizer of edgepack's own that a user can tell something."""
    found = []
    for name, quantizer in quantizers.items():
        fields = quantizer.options_type.model_fields.items()
        rows = [_row(option, field) for option, field in fields if not is_fixed(field)]
        if rows and quantizer.__module__.startswith("edgepack."):
            lines = [HEAD, ("---",) * len(HEAD), *rows]
            found.append(f"### `{name}`\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in lines))
    return "\n".join(found)


def put(text: str) -> str:
    """`text` with the tables between its markers.

    Raises:
        ValueError: There is not exactly one pair of markers.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        msg = f"the markers {BEGIN} and {END} are not there once each"
        raise ValueError(msg)
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{tables()}\n{END}{rest.partition(END)[2]}"


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = field.default
    shown = (
        "" if default in {None, ()} else str(default).lower() if isinstance(default, bool) else str(default)
    )
    return (f"`{name}`", takes(field), shown, str(field.description))


def main() -> None:
    """Print, or rewrite the files named."""
    if not sys.argv[1:]:
        sys.stdout.write(tables())
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(put(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
