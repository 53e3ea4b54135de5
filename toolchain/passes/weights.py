"""Reading weights where they lie: in chunks from their file, so that no pass loads a model into memory.

External tensors are read through the file and not through a mapping of it: what was read leaves
nothing behind in this process. A tensor's location is checked on every opening: it must stay inside
the model's folder, and the file must be long enough.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.passes.base import SMALL_BYTES

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

CHUNK_BYTES = 1 << 20
"""Small enough to stay in a core's cache between reading and use."""

_SAMPLE_BYTES = 4096


def is_large(tensor: ir.TensorProtocol) -> bool:
    """Whether the tensor is stored outside the graph file; strings never are."""
    import onnx_ir as ir

    return tensor.dtype is not ir.DataType.STRING and tensor.nbytes > SMALL_BYTES


def external_path(tensor: ir.ExternalTensor) -> Path:
    """The tensor's data file, links resolved.

    Raises:
        SourceError: It lies outside the model's folder, is missing, or is too short for the tensor.
    """
    path = Path(os.path.realpath(tensor.path))
    where = f"weight '{tensor.name}'"
    base = os.fspath(tensor.base_dir)
    if base and not path.is_relative_to(os.path.realpath(base)):
        raise SourceError(
            f"External data '{os.fspath(tensor.location)}' points outside the model's folder",
            where=where,
            todo="Put the data file beside the .onnx file and save the model again",
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(
            f"External data '{path.name}' cannot be read: {error.strerror}",
            where=where,
            todo="Keep the data file beside the .onnx file, under the name it was saved with",
        ) from error
    if size < (tensor.offset or 0) + tensor.nbytes:
        raise SourceError(
            f"External data '{path.name}' has {size} bytes and the weight ends at byte "
            f"{(tensor.offset or 0) + tensor.nbytes}",
            where=where,
            todo="The file was cut short: copy or download it again",
        )
    return path


def _open(tensor: ir.ExternalTensor) -> io.BufferedReader:
    file = external_path(tensor).open("rb")
    file.seek(tensor.offset or 0)
    return file


def _ended(tensor: ir.ExternalTensor) -> SourceError:
    return SourceError("External data ended while it was read", where=f"weight '{tensor.name}'")


def raw_chunks(tensor: ir.TensorProtocol, chunk_bytes: int = CHUNK_BYTES) -> Iterator[memoryview]:
    """The tensor's bytes as ONNX stores them (little-endian), piece by piece.

    A piece is valid until the next one is asked for: all pieces share one buffer.
    """
    import onnx_ir as ir

    if isinstance(tensor, ir.ExternalTensor):
        left = tensor.nbytes
        buffer = memoryview(bytearray(min(chunk_bytes, left)))
        with _open(tensor) as file:
            while left > 0:
                count = file.readinto(buffer[: min(chunk_bytes, left)])
                if count < min(chunk_bytes, left):
                    raise _ended(tensor)
                left -= count
                yield buffer[:count]
    else:
        data = _bytes(tensor)
        for start in range(0, len(data), chunk_bytes):
            yield data[start : start + chunk_bytes]


def _bytes(tensor: ir.TensorProtocol) -> memoryview:
    import numpy as np

    if tensor.dtype.bitwidth % 8 or sys.byteorder != "little":
        return memoryview(tensor.tobytes())
    values = np.ascontiguousarray(tensor.numpy())
    return values.reshape(-1).view(np.uint8).data if values.size else memoryview(b"")


def array(tensor: ir.TensorProtocol) -> np.ndarray:
    """The whole tensor as an array in memory of its own; for small tensors, or one large one at a time."""
    import numpy as np
    import onnx_ir as ir

    if not isinstance(tensor, ir.ExternalTensor):
        return tensor.numpy()
    if tensor.dtype.bitwidth % 8:
        external_path(tensor)
        packed: np.ndarray = tensor.numpy().copy()
        tensor.release()
        return packed
    dtype = tensor.dtype.numpy().newbyteorder("<") if tensor.dtype.itemsize > 1 else tensor.dtype.numpy()
    values = np.empty(tensor.shape.numpy(), dtype=dtype)
    view = values.reshape(-1).view(np.uint8).data if values.size else memoryview(b"")
    with _open(tensor) as file:
        if file.readinto(view) < len(view):
            raise _ended(tensor)
    return values


def same_place(tensor: ir.TensorProtocol) -> tuple[object, ...]:
    """A key that is equal for two tensors if they are the same bytes of the same file or object."""
    import onnx_ir as ir

    if isinstance(tensor, ir.ExternalTensor):
        return (os.path.realpath(tensor.path), tensor.offset or 0, tensor.nbytes)
    return (id(tensor),)


def sample(tensor: ir.TensorProtocol) -> bytes:
    """The first and last bytes: equal tensors have equal samples, and most different ones do not."""
    import onnx_ir as ir

    if isinstance(tensor, ir.ExternalTensor):
        with _open(tensor) as file:
            head = file.read(min(tensor.nbytes, _SAMPLE_BYTES))
            if tensor.nbytes <= _SAMPLE_BYTES:
                return head
            file.seek((tensor.offset or 0) + tensor.nbytes - _SAMPLE_BYTES)
            return head + file.read(_SAMPLE_BYTES)
    data = tensor.tobytes()
    return data if len(data) <= _SAMPLE_BYTES else data[:_SAMPLE_BYTES] + data[-_SAMPLE_BYTES:]


def sample_is_whole(tensor: ir.TensorProtocol) -> bool:
    """Whether `sample` returns all of the tensor's bytes."""
    return tensor.nbytes <= _SAMPLE_BYTES


SOURCE = "edgepack.source"
"""Key in a computed tensor's `meta` under which lies the tensor that holds its values, in another order."""


def nan_or_inf(model: ir.Model) -> list[str]:
    """Names of the floating-point initializers that hold a NaN, or an infinite value among other numbers.

    Constants of infinite values and zeros alone are masks (0, -inf) and bounds, which graphs do have. Every
    weight is read once, in chunks; nothing is kept.
    """
    import numpy as np

    seen: dict[tuple[object, ...], bool] = {}
    bad: list[str] = []
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if value.const_value is None:
                continue
            tensor = value.const_value.meta.get(SOURCE, value.const_value)
            if not tensor.dtype.is_floating_point() or tensor.dtype.bitwidth % 8:
                continue  # types of less than a byte have no code for them
            place = same_place(tensor)
            if place not in seen:
                dtype = tensor.dtype.numpy()
                chunks = (np.frombuffer(chunk, dtype=dtype) for chunk in raw_chunks(tensor))
                seen[place] = all(map(_finite, chunks)) or _is_mask(tensor)
            if not seen[place]:
                bad.append(name)
    return bad


def _finite(values: np.ndarray) -> bool:
    import numpy as np

    if values.dtype in (np.float32, np.float64):
        # One addition per value and no array of results: a NaN or infinity always reaches the sum.
        # The sum of finite values may overflow, so that an infinite one is looked at again.
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(float(np.add.reduce(values))):
                return True
    return bool(np.isfinite(values).all())


def _is_mask(tensor: ir.TensorProtocol) -> bool:
    """Whether all values are infinite or zero."""
    import numpy as np

    dtype = tensor.dtype.numpy()
    chunks = (np.frombuffer(chunk, dtype=dtype) for chunk in raw_chunks(tensor))
    return all(bool((np.isinf(values) | (values == 0)).all()) for values in chunks)
