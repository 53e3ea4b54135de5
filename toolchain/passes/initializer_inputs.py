"""`initializer-inputs`: weights that a legacy file lists among its inputs become constants.

Files of IR version 3 and older must list every initializer as an input too, so that a caller could
replace any weight; runtimes then fold and fuse nothing. From version 4 on, listing one is the
author's wish and is respected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes

if TYPE_CHECKING:
    import onnx_ir as ir

_FIRST_FREE_IR_VERSION = 4


@passes.register("initializer-inputs")
def initializer_inputs(model: ir.Model) -> int:
    """Take initializers out of a legacy file's inputs; returns how many."""
    if (model.ir_version or 0) >= _FIRST_FREE_IR_VERSION:
        return 0
    inputs = model.graph.inputs
    kept = [value for value in inputs if not value.is_initializer()]
    count = len(inputs) - len(kept)
    if count:
        inputs.clear()
        inputs.extend(kept)
        model.ir_version = _FIRST_FREE_IR_VERSION
    return count
