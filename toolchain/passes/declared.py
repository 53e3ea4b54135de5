"""What a graph declares of its inputs and outputs, brought to its signature.

Sizes are pinned by the names that the signature has; a file may leave a dimension without a name, or write it as a
formula, and what it says of its outputs may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.program import Signature


def declare(model: ir.Model, signature: Signature) -> int:
    """Name the open dimensions of a graph's inputs, and mend wrong numbers of its outputs, in place.

    Args:
        model: The graph.
        signature: What its callers see.

    Returns:
        How many values changed.
    """
    inputs = {spec.name: spec.shape for spec in signature.inputs}
    outputs = {spec.name: spec.shape for spec in signature.outputs}
    count = 0
    for value in model.graph.inputs:
        # Some exporters write -1 for a size that varies.
        count += _take(value, inputs, lambda dim: not isinstance(dim, int) or dim < 0)
    for value in model.graph.outputs:
        if value.producer() is not None:
            count += _take(value, outputs, lambda dim: isinstance(dim, int))
    return count


def _take(
    value: ir.Value,
    shapes: Mapping[str, tuple[int | str, ...]],
    replaced: Callable[[int | ir.SymbolicDim], bool],
) -> bool:
    """Whether the value's shape changed where its dimensions are of a kind."""
    import onnx_ir as ir

    wanted = shapes.get(value.name or "")
    if wanted is None or value.shape is None or len(value.shape) != len(wanted):
        return False
    shape = ir.Shape(new if replaced(old) else old for old, new in zip(value.shape, wanted, strict=True))
    if shape == value.shape:
        return False
    value.shape = shape
    return True
