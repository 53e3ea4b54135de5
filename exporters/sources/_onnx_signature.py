"""Inputs and outputs of an ONNX graph as a `Signature`, or the reason why it cannot have one.

What flows through edgepack are arrays of numbers of numpy's own types. Sequences, optionals and maps are
no arrays; strings are no numbers; 8-bit floats, bfloat16 and types of less than a byte are none of numpy's
own, so that no runtime's Python interface takes them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature, TensorSpec

if TYPE_CHECKING:
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
    return Signature(tuple(inputs), tuple(outputs))


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
