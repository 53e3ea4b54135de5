"""The matrix in words: short cells for a table, and what stays on the CPU or blocks, one line a system and reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.markdown import Place, table
from edgepack.toolchain.zoo.results import ENOUGH, Cell, Matrix, PartCell

if TYPE_CHECKING:
    from rich.console import RenderableType

PLACE = Place("<!-- zoo matrix -->", "<!-- /zoo matrix -->")
_KINDS = 4
"""Kinds of operators that a line names."""
_LONGEST = 300


def short(cell: Cell) -> str:
    """A cell in a few words: "int8", "100 %", "97 %, 4 on CPU", "blocked", "stopped"."""
    if cell.outcome in {"blocked", "stopped"}:
        return cell.outcome
    if cell.target.startswith(("cpu:", "mobile:")):
        rounded = all(any(name.startswith("int8") for name in part.rounded) for part in cell.parts)
        return "fp32, int8" if rounded else "fp32"
    if all(part.accelerator is None for part in cell.parts):
        return "compiled"
    share = "" if cell.macs is None else f"{_percent(cell.macs)} of MACs"
    away = sum(part.cpu or 0 for part in cell.parts)
    return ", ".join(filter(None, [share, f"{away} on CPU" if away else "all on NPU"]))


def _percent(share: float) -> str:
    """Rounded down: 100 % is said of all and of nothing less."""
    return f"{int(share * 1000) / 10:g} %"


def head(matrix: Matrix) -> list[str]:
    """Column titles."""
    return ["", "System", *matrix.targets]


def rows(matrix: Matrix) -> Iterator[list[str]]:
    """One row a system, in the matrix's order."""
    for name in dict.fromkeys(cell.name for cell in matrix.cells):
        cells = {cell.target: cell for cell in matrix.cells if cell.name == name}
        first = next(iter(cells.values()))
        yield [first.system, name, *(short(cells[target]) for target in matrix.targets if target in cells)]


def details(matrix: Matrix) -> Iterator[tuple[str, str]]:
    """(system, what stays off or blocks, with its targets), targets that say the same together."""
    for name in dict.fromkeys(cell.name for cell in matrix.cells):
        said: dict[str, list[str]] = {}
        for cell in matrix.cells:
            if cell.name == name:
                for line in _lines(cell):
                    said.setdefault(line, []).append(cell.target)
        for line, where in said.items():
            yield name, f"{', '.join(where)}: {line}"


def _lines(cell: Cell) -> Iterator[str]:
    if cell.outcome == "stopped":
        yield f"stopped: {_cut(cell.why or '')}"
        return
    several = len(cell.parts) > 1
    spoken = False
    for part in cell.parts:
        where = f"part {part.part}, " if several else ""
        if part.why is not None:
            spoken = True
            yield f"{where}blocked: {_cut(part.why)}"
        elif part.left:
            yield f"{where}{part.precision}, on the CPU: {_left(part)}"
    if cell.outcome == "blocked" and not spoken:
        yield f"blocked: {_cut(cell.why or '')}"


def _left(part: PartCell) -> str:
    named = [f"{left.count} {left.op} ({_cut(left.reason)})" for left in part.left[:_KINDS]]
    rest = sum(left.count for left in part.left[_KINDS:])
    return "; ".join(named) + (f"; and {rest} more" if rest else "")


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def summary(matrix: Matrix) -> list[str]:
    """How many systems run where, in sentences."""
    names = list(dict.fromkeys(cell.name for cell in matrix.cells))
    here = [target for target in matrix.targets if not target.startswith("npu:")]
    lines = []
    for target in here:
        ships = sum(cell.outcome == "runs" for cell in matrix.cells if cell.target == target)
        lines.append(f"{target}: {ships} of {len(names)} systems run with all their parts.")
    if len(here) < len(matrix.targets):
        enough = {cell.name for cell in matrix.cells if cell.enough}
        lines.append(
            f"{len(enough)} of {len(names)} systems have at least {ENOUGH:.0%} of the multiply-accumulates of every "
            "part on one NPU or another."
        )
        missing = [name for name in names if name not in enough]
        if missing:
            lines.append(f"Not among them: {', '.join(missing)}.")
    if matrix.older:
        lines.append(
            f"{matrix.older} of {len(matrix.cells)} cells were made by earlier states of edgepack's code."
        )
    return lines


def terminal(matrix: Matrix) -> RenderableType:
    """A table, the reasons, and the sums."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(title="Systems by targets, tiny configurations")
    for title in head(matrix):
        shown.add_column(title)
    for row in rows(matrix):
        shown.add_row(*map(Text, row))
    reasons = [Text(f"{name}, {line}", style="dim") for name, line in details(matrix)]
    return Group(shown, *reasons, *map(Text, summary(matrix)))


def markdown(matrix: Matrix) -> str:
    """The same as a part of a page."""
    lines = [
        f"    {matrix.command} --markdown docs/systems.md",
        "",
        *(f"- {line}" for line in summary(matrix)),
        "",
        table(_escaped(head(matrix)), map(_escaped, rows(matrix))),
    ]
    lines += [f"- **{system}**, {' '.join(_escaped([line]))}" for system, line in details(matrix)]
    return "\n".join(lines) + "\n"


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells]


def put(document: str, matrix: Matrix) -> str:
    """`document` with the matrix between its markers.

    Raises:
        UsageError: There is not exactly one pair of markers.
    """
    try:
        return PLACE.put(document, markdown(matrix))
    except ValueError as error:
        raise UsageError(
            str(error), where="--markdown", todo="Put them where the table is to stand"
        ) from error
