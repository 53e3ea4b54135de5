# ruff: noqa: INP001 - a script, not a package
"""Puts what `make bench-binary` measured of layers of all sizes into docs/binary-gain.md, between its markers.

    python tools/binary_gain_table.py                        print the table
    python tools/binary_gain_table.py docs/binary-gain.md    put it into the file

What other processors had stays there.

The numbers are those of build/binary-gain.json, which tests/benchmarks/test_binary_gain.py writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgepack.toolchain import markdown

PLACE = markdown.Place("<!-- gain: written by make bench-binary -->", "<!-- /gain -->")
FILE = Path(__file__).resolve().parents[1] / "build" / "binary-gain.json"
_HEAD = ("Layer", "fp32", "int8", "1 bit", "vs fp32", "vs int8", "functions vs fp32")


def table(run: dict[str, Any]) -> str:
    """A line a layer, times in microseconds without the runtime's own."""
    facts = f"{run['cpu']}, kernel {run['kernel']}, one thread; microseconds without the runtime's own.\n"
    return f"{facts}\n{markdown.table(_HEAD, map(_cells, run['lines']), right=range(1, len(_HEAD)))}"


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
    times, over = line["us"], line["over"]
    return (
        line["shape"],
        *(f"{times[name]:.1f}" for name in ("fp32", "int8", "1-bit")),
        *(f"{over[name]:.1f}x" for name in ("fp32", "int8")),
        f"{times['fp32'] / times['functions']:.1f}x",
    )


def main(files: list[str]) -> None:
    """Print the table, or put it into the files."""
    if not FILE.is_file():
        sys.exit(f"There is no {FILE}; run make bench-binary")
    run = json.loads(FILE.read_text(encoding="utf-8"))
    made = table(run)
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files), of=run["cpu"])


if __name__ == "__main__":
    main(sys.argv[1:])
