"""Inputs and outputs of an ONNX graph as a `Signature`, or the reason why it cannot have one.

What flows through edgepack are arrays of numbers of numpy's own types. Sequences, optionals and maps are
no arrays; strings are no numbers; 8-bit floats, bfloat16 and types of less than a byte are none of numpy's
own, so that no runtime's Python interface takes them.

A dimension that a file calls "past_sequence_length + 1" is taken for that sum where an input has the name by
itself, and for one that varies freely where none does. What a file says of its outputs' sizes nobody enforces:
it is held against what the reference gave (`observed`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Case, Signature, TensorSpec, is_sum, size_of, terms

if TYPE_CHECKING:
    import numpy as np
    import onnx

_KINDS = {
    "sequence_type": "a sequence",
    "optional_type": "an optional",
    "map_type": "a map",
    "sparse_tensor_type": "a sparse tensor",
    "opaque_type": "an opaque value",
}
_PLAIN = frozenset(
    {
        "float16", "float32", "float64", "int8", "int16", "int32", "int64",
        "uint8", "uint16", "uint32", "uint64", "bool",
    }
)  # fmt: skip


def signature(model: onnx.ModelProto, where: str, ranks: dict[str, int] | None = None) -> Signature:
    """The graph's inputs that are no weights, and its outputs.

    Args:
        model: The model.
        where: The file, for messages.
        ranks: Number of dimensions of values whose shape the graph leaves out.

    Raises:
        SourceError: A value that is no tensor of numbers, or whose number of dimensions is not known.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    known = ranks or {}
    inputs = [_spec(value, "input", where, known) for value in model.graph.input if value.name not in weights]
    outputs = [_spec(value, "output", where, known) for value in model.graph.output]
    alone = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str) and not is_sum(dim)}
    return Signature(*(tuple(_open_sums(spec, alone) for spec in side) for side in (inputs, outputs)))


def observed(own: Signature, cases: Sequence[Case]) -> tuple[Signature, list[str]]:
    """The signature with its outputs' dimensions as the reference calls have them, and notes on what was declared.

    Args:
        own: As the file declares it.
        cases: Calls, of different sizes where sizes may vary.
    """
    sizes = [_sizes(own, case.inputs) for case in cases]
    outputs, notes = [], []
    for spec in own.outputs:
        seen = [case.outputs[spec.name].shape for case in cases]
        if all(len(shape) == len(spec.shape) for shape in seen):
            shape = tuple(
                _true(dim, f"{spec.name}_{axis}", lengths, sizes)
                for axis, (dim, lengths) in enumerate(zip(spec.shape, zip(*seen, strict=True), strict=True))
            )
            found = replace(spec, shape=shape)
            if any(
                new != old and set(terms(old)) <= set(sizes[0])
                for new, old in zip(shape, spec.shape, strict=True)
            ):
                notes.append(f"the output {spec} is declared so, and is in truth {found}")
            outputs.append(found)
        else:
            outputs.append(spec)
    return Signature(own.inputs, tuple(outputs)), notes


def _true(dim: int | str, name: str, lengths: Sequence[int], sizes: Sequence[Mapping[str, int]]) -> int | str:
    """A dimension as all calls have it: as declared where that holds, else what it follows.

    A name that no input has says nothing, and stays only where no input's dimension is followed.
    """
    known = all(named in one for one in sizes for named in terms(dim))
    if known and _follows(dim, lengths, sizes):
        return dim
    fixed = len(set(lengths)) == 1
    if fixed and (isinstance(dim, int) or not known):
        return lengths[0] if known else dim
    followed = next((own for own in sizes[0] if _follows(own, lengths, sizes)), None)
    return followed or (dim if not known else lengths[0] if fixed else name)


def _follows(dim: int | str, lengths: Sequence[int], sizes: Sequence[Mapping[str, int]]) -> bool:
    return all(length == size_of(dim, one) for length, one in zip(lengths, sizes, strict=True))


def _sizes(own: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    return {
        dim: size
        for spec in own.inputs
        for dim, size in zip(spec.shape, inputs[spec.name].shape, strict=True)
        if isinstance(dim, str) and not is_sum(dim)
    }


def _open_sums(spec: TensorSpec, alone: Collection[str]) -> TensorSpec:
    """The same with sums of names that no input has by itself called by a name of their own."""
    return replace(
        spec,
        shape=tuple(
            f"{spec.name}_{axis}" if is_sum(dim) and not set(terms(dim)) <= set(alone) else dim
            for axis, dim in enumerate(spec.shape)
        ),
    )


def shapeless(model: onnx.ModelProto) -> list[str]:
    """Outputs whose number of dimensions the graph does not tell; running it does."""
    return [
        value.name
        for value in model.graph.output
        if value.type.WhichOneof("value") == "tensor_type" and not value.type.tensor_type.HasField("shape")
    ]


def _spec(value: onnx.ValueInfoProto, side: str, where: str, ranks: dict[str, int]) -> TensorSpec:
    import onnx_ir as ir

    kind = value.type.WhichOneof("value")
    if kind in _KINDS:
        raise SourceError(
            f"The {side} '{value.name}' is {_KINDS[kind]}, and only tensors are taken",
            where=where,
            todo="Export the model with tensors as its inputs and outputs",
        )
    tensor = value.type.tensor_type
    if kind is None or not value.name or not tensor.elem_type:
        raise SourceError(
            f"The {side} '{value.name}' has no type", where=where, todo="Export the model again"
        )
    dtype = ir.DataType(tensor.elem_type) if tensor.elem_type in _types() else None
    name = "" if dtype is None or dtype is ir.DataType.STRING else dtype.numpy().name
    if name not in _PLAIN:
        called = dtype.name.lower() if dtype is not None else f"number {tensor.elem_type}"
        raise SourceError(
            f"The {side} '{value.name}' has the type {called}, which numpy's arrays do not have",
            where=where,
            todo="Give the model float, integer or bool inputs and outputs, with a Cast inside where need be",
        )
    if not tensor.HasField("shape") and value.name not in ranks:
        raise SourceError(
            f"The {side} '{value.name}' has no shape",
            where=where,
            todo="Declare its dimensions when exporting; names will do for those that vary",
        )
    dims = list(tensor.shape.dim) if tensor.HasField("shape") else [None] * ranks[value.name]
    shape = tuple(
        dim.dim_value
        if dim is not None and dim.HasField("dim_value") and dim.dim_value >= 0
        else (dim.dim_param if dim is not None else "") or f"{value.name}_{axis}"
        for axis, dim in enumerate(dims)
    )
    return TensorSpec(value.name, name, shape)


def _types() -> Collection[int]:
    import onnx_ir as ir

    return {int(member) for member in ir.DataType}
