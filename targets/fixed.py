"""A part in one size, for compilers that plan an accelerator's memory before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgepack.toolchain.program import Part, TensorSpec


def fixed(part: Part, model: ir.Model, sizes: Mapping[str, int], target: str) -> Signature:
    """Replace every named dimension of a part's graph by its size, in place.

    Args:
        part: The part.
        model: Its graph.
        sizes: Size by name.
        target: The target's name, for the message.

    Returns:
        The part's signature, all of whose dimensions are numbers.

    Raises:
        TargetError: An output's size is known only when the model runs.
        SourceError: The sizes contradict the graph.
    """
    import onnx_ir as ir

    from edgepack.toolchain.passes.pinned import pin_sizes

    signature = part.signature.pinned(sizes)
    for value, spec in zip(model.graph.outputs, signature.outputs, strict=True):
        value.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in spec.shape])
    pin_sizes(model, sizes)  # which infers what is open
    inferred = {value.name: value.shape for value in model.graph.outputs}

    def settled(spec: TensorSpec) -> TensorSpec:
        shape = list(spec.shape)
        for axis, dim in enumerate(spec.shape):
            known = inferred[spec.name]
            found = dim if known is None else known[axis]
            if isinstance(dim, str) and isinstance(found, int):
                shape[axis] = found
            elif isinstance(dim, str):
                raise decided_by_values(spec, axis, target, f"part {part.name}")
        return replace(spec, shape=tuple(shape))

    return Signature(signature.inputs, tuple(map(settled, signature.outputs)))


def decided_by_values(spec: TensorSpec, axis: int, target: str, where: str | None = None) -> TargetError:
    """What to raise for an output whose size is known only when the model runs."""
    return TargetError(
        f"{target} plans its memory before the model runs, and how long axis {axis} of the output "
        f"{spec.name!r} is depends on the values of the inputs",
        where=where,
        todo="Give an output of the largest size and a mask or a count beside it, or use "
        "--target cpu:onnxruntime, where sizes may vary",
    )
