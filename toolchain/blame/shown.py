"""What `edgepack bisect` prints in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.report import text
from edgepack.toolchain.report.blame import decibels, sentences

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgepack.toolchain.blame.results import Blame

_NAME = 80
"""Characters of a layer's name that a terminal's table shows."""


def terminal(blame: Blame, top: int) -> RenderableType:
    """Tables for `rich.console.Console.print`; `blame` must have gone through `text.cleaned`."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"{blame.target} {blame.part} {blame.precision}", style="bold")]
    parts += [Text(f"- {line}") for line in sentences(blame)]
    parts += [_layers(blame, top), _steps(blame)]
    if blame.applied is not None:
        parts.append(_applied(blame))
    return Group(*parts)


def short(name: str) -> str:
    """A layer's name for a table's cell: LiteRT joins the names of everything that one operator replaces by ";".

    The page and the JSON hold the whole name, which is what `--keep` takes.
    """
    first, *others = [one for one in name.split(";") if one] or [name]
    if len(first) > _NAME:
        first = f"{first[: _NAME // 2]}…{first[-_NAME // 2 :]}"
    return f"{first} (+{len(others)})" if others else first


def _layers(blame: Blame, top: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title="Noisiest layers", title_justify="left")
    drawn.add_column("layer", overflow="fold")
    for title in ("operator", "added", "accumulated", "cosine when kept"):
        drawn.add_column(title, justify="left" if title == "operator" else "right")
    for layer in blame.worst(top):
        row = (short(layer.node), layer.op, decibels(layer.added_db), decibels(layer.accumulated_db))
        drawn.add_row(*(Text(cell) for cell in (*row, text.cosine(layer.cosine_alone))))
    return drawn


def _steps(blame: Blame) -> RenderableType:
    from rich.table import Table

    drawn = Table(title="Layers kept float", title_justify="left")
    for title in ("kept", "mean cosine", "gate"):
        drawn.add_column(title, justify="right")
    for kept, parity in [(0, blame.start), *((step.kept, step.parity) for step in blame.steps)]:
        drawn.add_row(str(kept), text.cosine(parity.cosine), "passed" if parity.passed else "failed")
    if blame.offered is not None and blame.confirmed is not None:
        drawn.add_row(f"{blame.offered} as built", text.cosine(blame.confirmed.cosine), "passed")
    return drawn


def _applied(blame: Blame) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    done = blame.applied
    assert done is not None  # noqa: S101 - asked by the caller
    drawn = Table(title=Text(f"Applied: {done.bundle}"), title_justify="left")
    for title in ("", "mean cosine", "gate", "p50 latency", "size", "nodes changed"):
        drawn.add_column(title, justify="right")
    for name, one in (("before", done.before), (f"{done.kept} kept", done.after)):
        if one is None:
            continue
        time = text.milliseconds(one.latency.p50_ms) if one.latency else "not timed"
        changed = "" if one.changed_nodes is None else str(one.changed_nodes)
        verdict = "passed" if one.parity.passed else "failed"
        drawn.add_row(name, text.cosine(one.parity.cosine), verdict, time, text.size(one.size_bytes), changed)
    return drawn
