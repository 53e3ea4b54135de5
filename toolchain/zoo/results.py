"""The typed results of the support matrix: one cell for each system and target."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepack.toolchain.results import Result

Outcome = Literal["runs", "partly", "blocked", "stopped"]
ENOUGH = 0.95
"""Share of the multiply-accumulates from which a system counts as on an NPU."""


class Left(Result):
    """Operators of one kind that stay off the accelerator for one reason."""

    op: str
    count: int
    reason: str


class PartCell(Result):
    """What became of one part on a target."""

    part: str
    precision: str | None = Field(None, description="of what ships; None where nothing does")
    accelerator: int | None = Field(
        None, description="operators there; None where nobody knows before the device"
    )
    cpu: int | None = None
    macs: float | None = Field(None, description="share of the multiply-accumulates on the accelerator")
    left: list[Left] = Field(default_factory=list, description="what is on the CPU, most frequent first")
    why: str | None = Field(None, description="why nothing ships")
    rounded: list[str] = Field(
        default_factory=list, description="quantized precisions that passed their gate"
    )


class Cell(Result):
    """What became of a system on a target.

    `runs`: all parts ship, with every operator on the accelerator, or there is none to speak of (CPU and mobile
    targets). `partly`: all ship, some operators on the CPU. `blocked`: a part does not ship. `stopped`: the run took
    too long or too much memory, or its process ended by itself.
    """

    name: str
    system: str = Field(description="row of the table of systems")
    config: str
    target: str
    outcome: Outcome
    parts: list[PartCell] = Field(default_factory=list)
    why: str | None = Field(None, description="of what is blocked or stopped, in words")
    seconds: float = 0.0

    @property
    def macs(self) -> float | None:
        """The least share of multiply-accumulates on the accelerator of any part that has some; None: not counted."""
        shares = [part.macs for part in self.parts if part.macs is not None]
        return min(shares, default=None)

    @property
    def enough(self) -> bool:
        """Whether all parts ship with at least `ENOUGH` of their multiply-accumulates on the accelerator."""
        return self.outcome in {"runs", "partly"} and self.macs is not None and self.macs >= ENOUGH


class Matrix(Result):
    """All cells that were asked for."""

    command: str
    targets: list[str]
    cells: list[Cell]
    older: int = Field(0, description="how many of the cells an earlier state of edgepack's code made")
