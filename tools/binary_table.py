# ruff: noqa: INP001 - a script, not a package
"""Puts what `make bench-binary` measured into docs/binary-roofline.md, between its markers.

    python tools/binary_table.py                            print the table
    python tools/binary_table.py docs/binary-roofline.md    put it into the file

The numbers are those of build/binary.json, which tests/benchmarks/test_binary.py writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgepack.toolchain import markdown

PLACE = markdown.Place("<!-- binary: written by make bench-binary -->", "<!-- /binary -->")
FILE = Path(__file__).resolve().parents[1] / "build" / "binary.json"
_HEAD = (
    "Shape",
    "fp32",
    "int8",
    "1 bit",
    "vs fp32",
    "vs int8",
    "Counting",
    "Reading",
    "Calling",
    "Share of the limit",
    "",
)


def table(run: dict[str, Any]) -> str:
    """A line a shape, times in microseconds, and the rates that the limits come from."""
    limits = run["limits"]
    facts = (
        f"{run['cpu']}, one thread: {limits['products'] / 1e12:.2f} T products/s counted, "
        f"{limits['near'] / 1e9:.0f} GB/s read from 64 KiB, {limits['far'] / 1e9:.0f} GB/s from 64 MiB.\n"
    )
    return f"{facts}\n{markdown.table(_HEAD, map(_cells, run['lines']), right=range(1, len(_HEAD) - 1))}"


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
    times, roofline = line["us"], line["roofline_us"]
    return (
        line["shape"],
        *(f"{times[name]:.1f}" for name in ("fp32", "int8", "1-bit")),
        *(f"{line['over'][name]:.1f}x" for name in ("fp32", "int8")),
        *(f"{roofline[name]:.1f}" for name in ("counting", "reading", "calling")),
        f"{100 * line['share_of_roofline']:.0f} %",
        f"**misses**: {'; '.join(line['missed'])}" if line["missed"] else "holds",
    )


def main(files: list[str]) -> None:
    """Print the table, or put it into the files."""
    if not FILE.is_file():
        sys.exit(f"There is no {FILE}; run make bench-binary")
    made = table(json.loads(FILE.read_text(encoding="utf-8")))
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
