"""Every tensor of an ONNX file, whatever it hangs on, and the checks of what they say of themselves.

A tensor declares its dimensions, its type and where its bytes are; readers believe it. Here the
declaration is held against the bytes before anything is allocated or mapped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.opsets import nodes

if TYPE_CHECKING:
    import onnx

_MOST_ELEMENTS = 1 << 48
"""More than any file system stores; below it products of dimensions are far from overflowing."""


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Initializers of all graphs, tensors in attributes (functions' included), parts of sparse ones."""
    import onnx

    graphs = [model.graph]
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                graphs.append(attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                graphs.extend(attribute.graphs)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.TENSORS:
                yield from attribute.tensors
            elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                yield attribute.sparse_tensor.values
                yield attribute.sparse_tensor.indices
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices


def check_tensors(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Hold every tensor's declaration against its bytes.

    Returns:
        The external data files, links resolved, in order of first use.

    Raises:
        SourceError: Dimensions that are negative or do not fit the bytes, a type that ONNX does not
            have, external data that is missing, too short, or outside the model's folder.
    """
    import onnx

    need: dict[str, int] = {}
    for tensor in tensors(model):
        size = tensor_bytes(tensor, str(path))
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location, end = _external(tensor, size, str(path))
            need[location] = max(need.get(location, 0), end)
        else:
            check_held(tensor, size, str(path))
    return [_file(location, length, path) for location, length in need.items()]


def tensor_bytes(tensor: onnx.TensorProto, where: str) -> int | None:
    """Bytes of a tensor by its type and dimensions; None for strings, which have no fixed length.

    Raises:
        SourceError: An unknown type, a negative dimension, or more elements than there can be.
    """
    import onnx_ir as ir

    try:
        dtype = ir.DataType(tensor.data_type)
        bits = 0 if dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) else dtype.bitwidth
    except (ValueError, TypeError) as error:
        raise SourceError(
            f"The tensor '{tensor.name}' has the type {tensor.data_type}, which is none of ONNX's",
            where=where,
            todo="Export the model again, or install a newer onnx_ir",
        ) from error
    elements = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0 or elements > _MOST_ELEMENTS:
        raise SourceError(
            f"The tensor '{tensor.name}' has the dimensions {list(tensor.dims)[:8]}, which cannot be",
            where=where,
            todo="Export the model again",
        )
    return -(-elements * bits // 8) if bits else None


def check_held(tensor: onnx.TensorProto, size: int | None, where: str) -> None:
    """Raise SourceError unless a tensor's own data has as many bytes or numbers as it declares."""
    elements = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        right, found = size is not None and len(tensor.raw_data) == size, f"{len(tensor.raw_data)} bytes"
    else:
        # Complex numbers are two entries each, types of less than a byte share one: at least an eighth.
        count = sum(
            len(getattr(tensor, name))
            for name in (
                "float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data",
            )
        )  # fmt: skip
        right, found = elements / 8 <= count <= 2 * elements, f"{count} numbers"
    if not right:
        raise SourceError(
            f"The tensor '{tensor.name}' declares {list(tensor.dims)[:8]} and holds {found}",
            where=where,
            todo="Copy or export the model again",
        )


def _external(tensor: onnx.TensorProto, size: int | None, where: str) -> tuple[str, int]:
    """Location and end of a tensor's external data, both checked as far as the graph says."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size or 0))
    except ValueError as error:
        raise SourceError(
            f"The external data of '{tensor.name}' has an offset or length that is no number", where=where
        ) from error
    if not location or size is None or offset < 0 or length != size:
        raise SourceError(
            f"The external data of '{tensor.name}' ('{location}', {length} bytes from {offset}) does not fit "
            f"its dimensions {list(tensor.dims)[:8]}",
            where=where,
            todo="Export the model again",
        )
    return location, offset + length


def _file(location: str, length: int, path: Path) -> Path:
    root = path.resolve().parent
    file = root / location
    if "\0" in location or Path(location).is_absolute() or not file.resolve().is_relative_to(root):
        raise SourceError(f"The external data '{location}' lies outside the model's folder", where=str(path))
    if not file.is_file():
        raise SourceError(
            f"The external data file '{location}' is missing",
            where=str(path),
            todo="Put it beside the model",
        )
    size = file.stat().st_size
    if size < length:
        raise SourceError(
            f"The external data file '{location}' has {size} bytes, the graph needs {length}",
            where=str(path),
            todo="Copy it again",
        )
    return file.resolve()
