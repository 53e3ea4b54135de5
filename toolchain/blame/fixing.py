"""How few layers must stay float until the gate holds: 1, 2, 4, 8, ... of the noisiest, then halving between.

More kept layers are taken to be better, which is checked at every step and not believed at the end: the offer is built
by the quantizer and judged on all inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgepack.toolchain.blame.results import KeepStep, LayerNoise
from edgepack.toolchain.blame.trials import Trial
from edgepack.toolchain.results import Parity

SHOWN_WHEN_PASSED = 8
"""Steps go up to here when the artifact passes already: what more could be had, and for how much."""


def search(order: Sequence[LayerNoise], trial: Trial, start: Parity) -> tuple[list[KeepStep], int | None]:
    """Steps that were measured, and the fewest layers with which the gate holds.

    Args:
        order: Layers that add noise, most first.
        trial: Gives the parity with some layers kept.
        start: The parity with none.

    Returns:
        The steps by their number of layers; None when no number was enough, or none is needed.
    """
    steps: dict[int, Parity] = {}

    def passes(count: int) -> bool:
        if count not in steps:
            steps[count] = trial(order[:count])
        return steps[count].passed

    failed, count, enough = 0, 1, None
    while order and enough is None:
        count = min(count, len(order))
        if passes(count) and not start.passed:
            enough = count
        elif count == len(order) or (start.passed and count >= SHOWN_WHEN_PASSED):
            break
        else:
            failed, count = count, count * 2
    while enough is not None and enough - failed > 1:
        middle = (failed + enough) // 2
        if passes(middle):
            enough = middle
        else:
            failed = middle
    return [KeepStep(kept=kept, parity=steps[kept]) for kept in sorted(steps)], enough
