"""From the emulator's counts to figures: a call's instructions by class, and how well they repeat."""

from __future__ import annotations

from collections.abc import Sequence

from edgepack.runtime.devices.board.counting import Counts, typical
from edgepack.toolchain.devices.results import Measured
from edgepack.toolchain.results import Measurement, Tool

INSTRUCTIONS = "instructions"
NAMES = {
    INSTRUCTIONS: "instructions",
    "dot products": "dot_products",
    "vectors": "vectors",
    "memory accesses": "memory",
}
"""A figure's name -> field of `Counts`."""


def counted(unit: str, costs: Sequence[Counts], tool: Tool) -> Measured:
    """A unit's cost.

    Args:
        unit: Its name.
        costs: Of every repetition.
        tool: The emulator.
    """
    cost = typical(costs)
    all_ = [one.instructions for one in costs]
    return Measured(
        unit=unit,
        plan="as-is",
        threads=1,
        emulated=True,
        counted=[
            Measurement(name=name, value=getattr(cost, field), unit="per call", kind="counted", tool=tool)
            for name, field in NAMES.items()
        ],
        notes=[f"{len(costs)} calls, {min(all_):,.0f} to {max(all_):,.0f} instructions"],
    )


def instructions(one: Measured) -> float | None:
    """Instructions of a call, None where they were not counted."""
    return next((figure.value for figure in one.counted if figure.name == INSTRUCTIONS), None)
