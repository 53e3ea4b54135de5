"""A part in one size, for compilers that plan an accelerator's memory before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    shapes = [inferred[spec.name] for spec in signature.outputs]
    found = [
        spec.shape if shape is None else [dim if isinstance(dim, int) else None for dim in shape]
        for spec, shape in zip(signature.outputs, shapes, strict=True)
    ]
    return settled(signature, found, target, f"part {part.name}")


def settled(
    signature: Signature, shapes: Sequence[Sequence[int | str | None]], target: str, where: str | None = None
) -> Signature:
    """The signature with the sizes of outputs that no name gives, but the graph: half of the frames, rounded up.

    Args:
        signature: Pinned: names are left where no name's size decides.
        shapes: Of the outputs, in order, from the graph at these sizes; an integer where it is known.
        target: The target's name, for the message.
        where: For the message.

    Raises:
        TargetError: An output's size is known only when the model runs.
    """

    def known(spec: TensorSpec, shape: Sequence[int | str | None]) -> TensorSpec:
        dims = list(spec.shape)
        for axis, (dim, found) in enumerate(zip(spec.shape, shape, strict=True)):
            if isinstance(dim, str):
                if not isinstance(found, int):
                    raise decided_by_values(spec.name, axis, target, where)
                dims[axis] = found
        return replace(spec, shape=tuple(dims))

    outputs = (known(spec, shape) for spec, shape in zip(signature.outputs, shapes, strict=True))
    return Signature(signature.inputs, tuple(outputs))


def decided_by_values(output: str, axis: int, target: str, where: str | None = None) -> TargetError:
    """What to raise for an output whose size is known only when the model runs."""
    return TargetError(
        f"{target} plans its memory before the model runs, and how long axis {axis} of the output "
        f"{output!r} is depends on the values of the inputs",
        where=where,
        todo="Give an output of the largest size and a mask or a count beside it, or use "
        "--target cpu:onnxruntime, where sizes may vary",
    )
