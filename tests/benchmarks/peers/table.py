"""The verdict of every row, and the table of docs/peers.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgepack.toolchain import markdown
from tests.benchmarks.peers import models
from tests.benchmarks.peers.models import Row
from tests.benchmarks.peers.ours import TITLE

DOCS = models.ROOT / "docs" / "peers.md"
PLACE = markdown.Place("<!-- peers: written by make bench-peers -->", "<!-- /peers -->")
TIE = 0.97
"""Two loads of one file differ by up to 3 % with where their memory lies: no slower than this counts as equal."""


class Verdict(NamedTuple):
    """A row's outcome.

    Attributes:
        row: Which.
        ours: Our entry, as `measure.measured` gives it.
        peer: The fastest entry of a peer that passes the gate; None when none passes.
        against: Its time over ours, interleaved; None without one.
        missed: In words what is not reached; empty when the row holds.
    """

    row: Row
    ours: Mapping[str, Any]
    peer: Mapping[str, Any] | None
    against: float | None
    missed: list[str]


def verdict(row: Row, place: int, result: Mapping[str, Any]) -> Verdict:
    """Judge a row.

    Args:
        row: The row.
        place: Of our entry for it among the result's.
        result: Of `measure.measured`.
    """
    ours = result["entries"][place]
    if "failed" in ours:
        return Verdict(row, ours, None, None, [f"edgepack's artifact does not run: {ours['failed']}"])
    missed = [
        f"{name} {ours['measures'][name]:.4f} is below the gate's {bound:g}"
        for name, bound in row.gate.items()
        if ours["measures"][name] < bound
    ]
    pairs = {
        int(other): ratio
        for other, ratio in result["pairs"][str(place)].items()
        if models.passes(result["entries"][int(other)]["measures"], row.gate)
    }
    fastest = min(pairs, key=pairs.__getitem__) if pairs else None
    peer = None if fastest is None else result["entries"][fastest]
    against = None if fastest is None else pairs[fastest]
    if against is not None and against < TIE:
        assert peer is not None
        missed.append(f"{peer['who']} {peer['form']} is faster: {against:.2f} of its speed")
    if row.bar is not None and ours["ratio"] < row.bar:
        missed.append(f"{ours['ratio']:.2f}x ONNX Runtime fp32 is below {row.bar:g}x")
    return Verdict(row, ours, peer, against, missed)


def page(
    verdicts: Sequence[Verdict], results: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]
) -> str:
    """What stands between the markers."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    blocks = [
        f"{facts['date']}, {facts['cpu']}, one thread on one core, load average {facts['load']:.1f}, {versions}.\n",
        _rows(
            ("Row", "edgepack ships", "Speed", "Fastest peer that passes", "Speed", "edgepack / peer", ""),
            [_summary(found) for found in verdicts],
        ),
    ]
    for task, result in results.items():
        measures = models.TASKS[task].measures
        count = len(models.samples(task).held_out)
        blocks.append(f"### {task}, {count} held-out inputs\n")
        ordered = sorted(result["entries"], key=lambda entry: -entry.get("ratio", 0.0))
        blocks.append(
            _rows(("", "Form", "ms", "Speed", *measures), [_detail(entry, measures) for entry in ordered])
        )
    return "\n".join(blocks)


def _rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    words = {"", "Row", "Form"}
    return markdown.table(head, lines, right=[i for i, title in enumerate(head) if title not in words])


def _summary(found: Verdict) -> Sequence[str]:
    bar = f", at least {found.row.bar:g}x" if found.row.bar else ""
    peer = found.peer
    return (
        f"{found.row.title}{bar}",
        found.ours["form"],
        _speed(found.ours),
        "none" if peer is None else f"{peer['who']} {peer['form']}",
        "" if peer is None else _speed(peer),
        "" if found.against is None else f"{found.against:.2f}",
        "; ".join(found.missed) or "holds",
    )


def _detail(entry: Mapping[str, Any], measures: Sequence[str]) -> Sequence[str]:
    who = f"**{entry['who']}**" if entry["who"] == TITLE else entry["who"]
    if "failed" in entry:
        return (
            who,
            entry["form"],
            "",
            f"failed: {entry['failed'].replace('|', '/')}",
            *("" for _ in measures),
        )
    return (
        who,
        entry["form"],
        f"{entry['ms']:.2f}",
        _speed(entry),
        *(f"{entry['measures'][name]:.4f}" for name in measures),
    )


def _speed(entry: Mapping[str, Any]) -> str:
    if "ratio" not in entry:
        return ""
    interval = f" ({entry['low']:.2f} to {entry['high']:.2f})" if "low" in entry else ""
    return f"{entry['ratio']:.2f}x{interval}"
