"""Which method of an ExecuTorch program a signature means.

A program's inputs and outputs have no names: its methods are told apart by how many there are, their sizes and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import SourceError

if TYPE_CHECKING:
    from edgepack.toolchain.program import Signature

_SCALAR_TYPES = {
    "uint8": 0,
    "int8": 1,
    "int16": 2,
    "int32": 3,
    "int64": 4,
    "float16": 5,
    "float32": 6,
    "float64": 7,
    "bool": 11,
    "bfloat16": 15,
}
"""Numbers of ExecuTorch's element types (`executorch.exir.schema.ScalarType`)."""


def chosen(metas: Mapping[str, Any], signature: Signature, path: Path) -> str:
    """The name of the one method, or, where the file holds several, of the one that takes and gives what is asked for.

    Raises:
        SourceError: There is none, or more than one.
    """
    if len(metas) == 1:
        ((name, meta),) = metas.items()
        _match(meta, signature, path)
        return name
    fitting = [name for name, meta in metas.items() if _fits(meta, signature)]
    if len(fitting) != 1:
        raise SourceError(
            f"The program holds the methods {', '.join(sorted(metas)) or '(none)'}, and {len(fitting)} of them take "
            "and give what the signature says",
            where=str(path),
            todo="Export the model again: the file and its signature do not belong together",
        )
    return fitting[0]


def _fits(meta: Any, signature: Signature) -> bool:
    """Whether a method's inputs and outputs have the signature's sizes and types."""
    sides = (
        (signature.inputs, meta.num_inputs(), meta.input_tensor_meta),
        (signature.outputs, meta.num_outputs(), meta.output_tensor_meta),
    )
    return all(
        count == len(specs)
        and all(
            tuple(of(index).sizes()) == spec.shape and of(index).dtype() == _SCALAR_TYPES.get(spec.dtype)
            for index, spec in enumerate(specs)
        )
        for specs, count, of in sides
    )


def _match(meta: Any, signature: Signature, path: Path) -> None:
    """Raise SourceError unless the method's inputs and outputs are as many and as large as the signature's."""
    sides = (
        ("inputs", signature.inputs, meta.num_inputs(), meta.input_tensor_meta),
        ("outputs", signature.outputs, meta.num_outputs(), meta.output_tensor_meta),
    )
    for side, specs, count, of in sides:
        shapes = [tuple(of(index).sizes()) for index in range(count)] if count == len(specs) else []
        if count != len(specs) or any(
            len(shape) != len(spec.shape)
            or any(isinstance(d, int) and d != n for d, n in zip(spec.shape, shape, strict=True))
            for spec, shape in zip(specs, shapes, strict=True)
        ):
            wanted = ", ".join(map(str, specs)) or "none"
            given = ", ".join(str(list(shape)) for shape in shapes) or str(count)
            raise SourceError(
                f"The program's {side} are {given}, and its signature says {wanted}",
                where=str(path),
                todo="Export the model again: the file and its signature do not belong together",
            )
