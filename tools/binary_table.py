# ruff: noqa: INP001 - a script, not a package
"""Puts what `make bench-binary` measured into docs/binary-roofline.md, between its markers.

    python tools/binary_table.py                            print the tables
    python tools/binary_table.py docs/binary-roofline.md    put them into the file

What other processors had stays there.

The numbers are those of build/binary.json and build/binary-chains.json, which tests/benchmarks/test_binary.py and
test_binary_chains.py write.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgepack.toolchain import markdown

PLACE = markdown.Place("<!-- binary: written by make bench-binary -->", "<!-- /binary -->")
CHAINS_PLACE = markdown.Place("<!-- chains: written by make bench-binary -->", "<!-- /chains -->")
FILE = Path(__file__).resolve().parents[1] / "build" / "binary.json"
CHAINS_FILE = FILE.with_name("binary-chains.json")
_HEAD = (
    "Shape",
    "fp32",
    "int8",
    "1 bit",
    "vs fp32",
    "vs int8",
    "At most vs fp32",
    "Counting",
    "Tiles",
    "Reading",
    "Calling",
    "Share of the limit",
    "",
)

_DOUBLED_HEAD = ("Shape", "One thread", "Two threads", "Gain", "Counting alone", "Tiles alone", "")
_CHAINS_HEAD = (
    "Chain",
    "unpacked",
    "folded",
    "packed",
    "vs unpacked",
    "vs folded",
    "Products",
    "Limit",
    "Calling",
    "At most vs unpacked",
    "At the limit",
    "",
)


def table(run: dict[str, Any]) -> str:
    """A line a shape, times in microseconds, the rates that the limits come from, and what two threads gained."""
    limits = run["limits"]
    facts = (
        f"{run['cpu']}, one thread: {limits['products'] / 1e12:.2f} T products/s counted, "
        f"{limits['tiles'] / 1e12:.2f} by tiles at best, "
        f"{limits['near'] / 1e9:.0f} GB/s read from 64 KiB, {limits['far'] / 1e9:.0f} GB/s from 64 MiB.\n"
    )
    made = markdown.table(_HEAD, map(_cells, run["lines"]), right=range(1, len(_HEAD) - 1))
    right = range(1, len(_DOUBLED_HEAD) - 1)
    doubled = markdown.table(_DOUBLED_HEAD, map(_doubled, run["doubled"]), right)
    return f"{facts}\n{made}\nTwo threads, wall time:\n\n{doubled}"


def _doubled(line: dict[str, Any]) -> tuple[str, ...]:
    gains = [line["gain"], *(line["bare_loops"][name] for name in ("counting", "tiles"))]
    return (
        line["shape"],
        *(f"{us:.1f}" for us in line["wall_us"]),
        *(f"{gain:.2f}x" if gain else "" for gain in gains),
        _outcome(line),
    )


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
    times, roofline = line["us"], line["roofline_us"]
    return (
        line["shape"],
        *(f"{times[name]:.1f}" for name in ("fp32", "int8", "1-bit")),
        *(f"{line['over'][name]:.1f}x" for name in ("fp32", "int8")),
        f"{line['at_most']:.1f}x",
        f"{roofline['counting']:.1f}",
        f"{line['tiles_us']:.1f}",
        *(f"{roofline[name]:.1f}" for name in ("reading", "calling")),
        f"{100 * line['share_of_roofline']:.0f} %",
        _outcome(line),
    )


def chains_table(run: dict[str, Any]) -> str:
    """A line a chain, times in microseconds."""
    rows = [
        (
            line["chain"],
            *(f"{line['us'][name]:.1f}" for name in ("unpacked", "folded", "packed")),
            *(f"{line['over'][name]:.2f}x" for name in ("unpacked", "folded")),
            *(f"{line['bounds_us'][name]:.1f}" for name in ("products", "limit", "calling")),
            *(f"{line[name]:.2f}x" for name in ("at_most", "at_most_at_limit")),
            _outcome(line),
        )
        for line in run["lines"]
    ]
    right = range(1, len(_CHAINS_HEAD) - 1)
    return f"{run['cpu']}, one thread.\n\n{markdown.table(_CHAINS_HEAD, rows, right=right)}"


def _outcome(line: dict[str, Any]) -> str:
    return f"**misses**: {'; '.join(line['missed'])}" if line["missed"] else "holds"


def main(files: list[str]) -> None:
    """Print the tables, or put them into the files."""
    missing = []
    for place, file, make in ((PLACE, FILE, table), (CHAINS_PLACE, CHAINS_FILE, chains_table)):
        if not file.is_file():
            missing.append(file.name)
            continue
        run = json.loads(file.read_text(encoding="utf-8"))
        made = make(run)
        if not files:
            sys.stdout.write(f"{made}\n")
        place.write(made, map(Path, files), of=run["cpu"])
    if missing:
        sys.exit(f"There is no {' and no '.join(missing)} in {FILE.parent}; run make bench-binary")


if __name__ == "__main__":
    main(sys.argv[1:])
