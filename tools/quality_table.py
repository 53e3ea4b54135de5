# ruff: noqa: INP001 - a script, not a package
"""Puts what `make bench-quality` measured into docs/quality.md, between its markers.

    python tools/quality_table.py                    print the tables
    python tools/quality_table.py docs/quality.md    put them into the file

The numbers are those of build/quality.json, which tests/benchmarks/quality writes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgepack.toolchain import markdown
from tests.benchmarks.quality.rows import FILE, Row, read

PLACE = markdown.Place("<!-- quality: written by make bench-quality -->", "<!-- /quality -->")
MODELS = ("CNN", "ViT", "decoder")
_HEADS = {
    "accuracy": ("Target", "Precision", "Images", "Top-1", "Points against fp32"),
    "perplexity": ("Target", "Precision", "Tokens", "Perplexity", "Ratio to fp32"),
}
_MORE = ("Nodes changed", "Size", "Speed against fp32", "")


def tables(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """A table for every model, and where the numbers come from.

    Raises:
        ValueError: A model has no rows: the run was not a whole one.
    """
    missing = [model for model in MODELS if all(row.model != model for row in rows)]
    if missing:
        msg = f"{FILE} has no rows of {', '.join(missing)}; run make bench-quality to its end"
        raise ValueError(msg)
    packages = ", ".join(f"{name} {version}" for name, version in sorted(facts["packages"].items()))
    blocks = [f"{facts['date']}, {facts['cpu']}, one thread, Python {facts['python']}, {packages}.\n"]
    for model in MODELS:
        found = [row for row in rows if row.model == model]
        first = found[0]
        fp32 = f"{first.fp32:.2f} %" if first.measure == "accuracy" else f"{first.fp32:.3f}"
        head = (*_HEADS[first.measure], *_MORE)
        blocks.append(f"### {model}: {first.measure} {fp32} in fp32\n")
        blocks.append(markdown.table(head, map(_cells, found), right=range(2, len(head) - 1)))
    return "\n".join(blocks)


def _cells(row: Row) -> tuple[str, ...]:
    if row.measure == "accuracy":
        value = f"{row.value:.2f} %"
        change = f"{row.change.value:+.2f} ({row.change.low:+.2f} to {row.change.high:+.2f})"
    else:
        value = f"{row.value:.3f}"
        change = f"{row.change.value:.4f} ({row.change.low:.4f} to {row.change.high:.4f})"
    speed = row.speed
    return (
        f"`{row.target}`",
        row.precision,
        f"{row.judged:,}",
        value,
        "" if row.precision == "fp32" else change,
        "" if row.nodes is None else str(row.nodes),
        f"{row.size_bytes / 1e6:.3f} MB",
        "" if speed is None else f"{speed.value:.2f} ({speed.low:.2f} to {speed.high:.2f})",
        "shipped" if row.chosen else "",
    )


def main(files: list[str]) -> None:
    """Print the tables, or put them into the files."""
    if not FILE.is_file():
        sys.exit(f"There is no {FILE}; run make bench-quality")
    made = tables(*read())
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
