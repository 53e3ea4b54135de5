"""`static shapes`: every named dimension becomes its size, and what follows from sizes becomes a constant.

An accelerator's compiler plans memory ahead: it takes no dimension that callers choose, and no operator that computes
shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.pinned import pin_sizes
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


@rewrite(
    "static shapes",
    why="the compiler plans memory ahead and takes no open dimension",
    cures=(Cure(None, r"dynamic|constant shape"),),
    first=lambda device: bool(device.sizes),
)
def static_shapes(model: ir.Model, device: Device) -> int:
    """Pin the sizes; returns how many values had an open dimension."""
    return pin_sizes(model, device.sizes)
