"""Whether `--host lookups` would take from an accelerator's part what its compiler left on the CPU.

A table lookup inside the accelerator's graph costs more than its copy of a few rows: what is around it is converted and
crosses over with it. No rewrite cures it, for a lookup is an address and no product; a split does (`hosting`). It
changes what ships, from one part to two, and is therefore offered and never done unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.splitting import find_cut

if TYPE_CHECKING:
    from edgepack.targets.base import Target
    from edgepack.toolchain.pipeline.candidates import Builder
    from edgepack.toolchain.results import Placement

_LOOKUPS = frozenset({"GATHER", "GATHERND", "GATHER_ND", "EMBEDDING_LOOKUP"})


def lookups_left(builder: Builder, target: Target, placement: Placement) -> int:
    """How many lookups stay off an accelerator that `--host lookups` would keep away from it; 0 where it cannot."""
    count = sum(one.op.upper() in _LOOKUPS for one in placement.reasons)
    root = builder.origin or builder
    if not count or target.host is None or len(root.program.parts) > 1 or root.program.links:
        return 0
    model = builder.part.model()
    return count if already_quantized(model) is None and find_cut(model) is not None else 0


def note(builder: Builder, target: Target, placement: Placement) -> tuple[str, ...]:
    """What the report says of it."""
    count = lookups_left(builder, target, placement)
    if not count:
        return ()
    words = "1 table lookup stays" if count == 1 else f"{count} table lookups stay"
    said = (
        f"{words} on the CPU in the middle of the accelerator's graph; --host lookups makes a part of its own of what "
        f"computes from token numbers and masks alone, for the host, and leaves {target.name} the rest"
    )
    return (said,)
