"""`reciprocal`: one over a tensor as a quotient.

    1 / x  =  Div(1, x)

The same number, by another of an accelerator's kernels: for those that have a wrong one for the reciprocal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build

if TYPE_CHECKING:
    import onnx_ir as ir


@rewrite(
    "reciprocal",
    why="the NPU's reciprocal of integers is off by a factor that depends on their range; its quotient is right",
    cures=(Cure("Reciprocal"),),
    first=lambda device: "Reciprocal" in device.lacks,
)
def reciprocal(model: ir.Model, device: Device) -> int:
    """Rewrite reciprocals as quotients; returns how many."""
    del device
    found = [node for node in model.graph if standard(node, "Reciprocal")]
    for node in found:
        new = Build(model.graph, node)
        new.finish("Div", [new.number(1.0, "one"), node.inputs[0]])
    return len(found)
