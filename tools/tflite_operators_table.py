# ruff: noqa: INP001 - a script, not a package
"""Writes which ONNX operators become TFLite, from the translations, and which not, with why, for docs/tflite.md.

python tools/tflite_operators_table.py                   print it
python tools/tflite_operators_table.py docs/tflite.md    put it between the file's markers
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgepack.targets.mobile._tflite.base import Translation, operators
from edgepack.targets.mobile._tflite.unserved import reason
from edgepack.toolchain import markdown

PLACE = markdown.Place(
    "<!-- operators: written by tools/tflite_operators_table.py -->", "<!-- /operators -->"
)
HEAD = ("ONNX", "TFLite", "With integers", "Limits")
CONVERSIONS = ("`DequantizeLinear`, `QuantizeLinear`", "types of tensors; DEQUANTIZE, QUANTIZE, MUL", "int8, int16",
               "constant scales, one a tensor or one a channel")  # fmt: skip


def tables() -> str:
    """The table of what is translated, and that of what is not."""
    served: dict[Translation, list[str]] = {}
    for name, member in operators.items():
        served.setdefault(member, []).append(name)
    rows = [
        (_names(names), member.to, ", ".join(member.integer), member.limits)
        for member, names in served.items()
    ]
    rows = sorted([*rows, CONVERSIONS])
    missing: dict[str, list[str]] = {}
    for name in _unserved():
        missing.setdefault(reason("", name), []).append(name)
    others = [(words, _names(names)) for words, names in sorted(missing.items())]
    return f"{markdown.table(HEAD, rows)}\n{markdown.table(('Not translated, because', 'ONNX'), others)}"


def _unserved() -> list[str]:
    """ONNX's own operators, in its newest set, that nothing translates."""
    import onnx

    newest = {
        schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated
    }
    return sorted(newest - {*operators.names(), "QuantizeLinear", "DequantizeLinear"})


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def main(files: list[str]) -> None:
    """Print the tables, or put them into the files."""
    made = tables()
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
