"""Reading and marking `.tflite` files: operators, their sizes, and the one note edgepack leaves in a file.

Targets, quantizers and sessions all need a little of this, so it lies on the ground floor. Nothing
here runs a model; the flatbuffer is parsed by the generated schema that ai-edge-litert carries.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.files import write_bytes

SIGNATURE_KEY = "serving_default"
CHANNELS_LAST = "channels_last"
"""Key of the note: names of the inputs that are [N, C, H, W] to the caller and [N, H, W, C] in the file."""
_NOTE = b"edgepack"
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D"})


@dataclass(frozen=True)
class Tensor:
    """One tensor of a graph: `dtype` is the schema's name in lower case ("float32", "int8")."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool


@dataclass(frozen=True)
class Operator:
    """One operator: the schema's name ("CONV_2D"; a custom one by its own name), inputs and outputs."""

    index: int
    op: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @property
    def name(self) -> str:
        """The first output's name: what converters and compilers call an operator by."""
        return self.outputs[0].name if self.outputs else f"operator {self.index}"

    @property
    def macs(self) -> int:
        """Multiplications with accumulation of one call; 0 for operators that are not products."""
        if self.op not in _CONVOLUTIONS | {"FULLY_CONNECTED", "BATCH_MATMUL"}:
            return 0
        out, first, second = self.outputs[0].shape, self.inputs[0], self.inputs[1]
        if first is None or second is None:
            return 0
        if self.op == "TRANSPOSE_CONV":  # weights [out, h, w, in] meet every position of the input, the third
            image = self.inputs[2]
            return math.prod(second.shape) * math.prod(image.shape[:3]) if image else 0
        if self.op == "DEPTHWISE_CONV_2D":  # weights [1, h, w, channels]
            return math.prod(out) * math.prod(second.shape[1:3])
        if self.op == "BATCH_MATMUL":
            return math.prod(out) * first.shape[-1]
        return math.prod(out) * math.prod(second.shape[1:])  # weights [out, ..., in]


def read(path: Path) -> Any:
    """The file as the schema's object (`ModelT`), its buffers views on the file's bytes.

    Raises:
        SourceError: The file is missing or is not a TFLite model.
    """
    import mmap

    import numpy as np
    from ai_edge_litert.tools import flatbuffer_utils

    _check(path)
    try:
        # Mapped here, for flatbuffer_utils.read_model never closes the file that it opens.
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        model = flatbuffer_utils.read_model_from_bytearray(content)
    except Exception as error:
        raise SourceError(f"The TFLite file cannot be read: {error}", where=str(path)) from error
    for buffer in model.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            buffer.data = np.frombuffer(buffer.data, np.uint8)  # anything else is written byte by byte
    return model


def write(model: Any, path: Path) -> None:
    """Write a `ModelT`; weights lie within the flatbuffer, which limits a file to 2 GiB.

    The file is a new one under its name: a model that was read from the old one has views on that, which written over
    would turn scales and weights into bytes of something else.

    Raises:
        SourceError: The model is beyond that.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    size = sum(len(b.data) for b in model.buffers if b.data is not None)
    if size >= 2**31:
        raise SourceError(
            f"The model has {size / 2**30:.1f} GiB of weights, and a TFLite file holds less than 2 GiB",
            where=str(path),
            todo="Quantize it, or use a target that takes ONNX with external weights",
        )
    write_bytes(path, flatbuffer_utils.convert_object_to_bytearray(model))


def operators(model: Any) -> Iterator[Operator]:
    """The operators of the main graph in order of execution."""
    graph = model.subgraphs[0]
    tensors = [_tensor(model, tensor) for tensor in graph.tensors]
    for index, operator in enumerate(graph.operators):
        yield Operator(
            index,
            _op_name(model.operatorCodes[operator.opcodeIndex]),
            tuple(tensors[i] if i >= 0 else None for i in _ids(operator.inputs)),
            tuple(tensors[i] for i in _ids(operator.outputs)),
        )


def output_shapes(model: Any, names: Sequence[str]) -> list[list[int | None]]:
    """Sizes of the outputs of these names in the file's signature, None where one is open."""
    entry, graph = model.signatureDefs[0], model.subgraphs[0]
    found = {
        item.name.decode() if isinstance(item.name, bytes) else item.name: graph.tensors[item.tensorIndex]
        for item in entry.outputs
    }
    shapes = []
    for name in names:
        tensor = found[name]
        given = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        shapes.append([int(size) if size >= 0 else None for size in given])
    return shapes


def convolution_share(model: Any) -> float | None:
    """Share of the multiplications that are convolutions, 0 to 1; None for a graph without any."""
    total = convolutions = 0
    for operator in operators(model):
        total += operator.macs
        convolutions += operator.macs if operator.op in _CONVOLUTIONS else 0
    return convolutions / total if total else None


def count_integer(model: Any) -> int:
    """Operators that compute with integers of at most 16 bits, conversions to and from them not counted."""
    narrow = {"int2", "int4", "int8", "uint8", "int16"}
    return sum(
        any(tensor is not None and tensor.dtype in narrow for tensor in (*operator.inputs, *operator.outputs))
        for operator in operators(model)
        if operator.op not in {"QUANTIZE", "DEQUANTIZE"}
    )


def narrow_biases(model: Any) -> int:
    """Store 64-bit biases of fully connected layers with 32 bits where no sum can leave 32 bits.

    With 16-bit activations the bias is 64 bits wide, and LiteRT then accumulates in 64 bits, four
    times as slow, and scales the sum by a factor of 15 bits instead of 31. Accumulating in 32 gives
    the same sums as long as 32768 sum|w| + |b| < 2^31 for every output; only such layers are changed,
    in place.

    Returns:
        How many layers were changed.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph, changed = model.subgraphs[0], 0
    for operator, raw in zip(operators(model), graph.operators, strict=True):
        if operator.op != "FULLY_CONNECTED" or len(raw.inputs) <= 2 or raw.inputs[2] < 0:  # noqa: PLR2004
            continue
        weights, bias = graph.tensors[raw.inputs[1]], graph.tensors[raw.inputs[2]]
        data = [model.buffers[tensor.buffer].data for tensor in (weights, bias)]
        kinds = (weights.type, bias.type)
        if kinds != (schema.TensorType.INT8, schema.TensorType.INT64) or any(d is None for d in data):
            continue
        sums = (
            np.abs(np.frombuffer(bytes(data[0]), np.int8).astype(np.int64))
            .reshape(weights.shape)
            .sum(axis=-1)
        )
        values = np.frombuffer(bytes(data[1]), np.int64)
        if np.any(2**15 * sums.reshape(-1) + np.abs(values) >= 2**31):
            continue
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.astype(np.int32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        bias.buffer, bias.type = len(model.buffers) - 1, schema.TensorType.INT32
        raw.builtinOptions.quantizedBiasType = schema.TensorType.INT32
        changed += 1
    return changed


def set_note(model: Any, note: Mapping[str, Any]) -> None:
    """Leave edgepack's note in the model's metadata, in place of an earlier one."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(json.dumps(note).encode(), dtype=np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NOTE, len(model.buffers) - 1
    model.metadata = [m for m in model.metadata or [] if m.name not in {_NOTE, _NOTE.decode()}] + [entry]


def read_note(path: Path) -> dict[str, Any]:
    """The note that `set_note` left, empty when there is none; only the pages that hold it are read.

    Raises:
        SourceError: The file is missing or is not a TFLite model.
    """
    import mmap

    from ai_edge_litert import schema_py_generated as schema

    _check(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            model = schema.Model.GetRootAs(data, 0)
            for index in range(model.MetadataLength()):
                entry = model.Metadata(index)
                if entry.Name() != _NOTE:
                    continue
                buffer = model.Buffers(entry.Buffer())
                start, size = buffer.Offset(), buffer.Size()
                # Above 1, the offset is that of bytes beyond the flatbuffer itself.
                inline = start <= 1
                raw = (
                    bytes(map(buffer.Data, range(buffer.DataLength())))
                    if inline
                    else data[start : start + size]
                )
                note: dict[str, Any] = json.loads(raw)
                return note
        except Exception as error:
            raise SourceError(f"The TFLite file cannot be read: {error}", where=str(path)) from error
    return {}


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise SourceError(f"The TFLite file cannot be opened: {error.strerror}", where=str(path)) from error
    if head[4:8] != b"TFL3":
        raise SourceError(
            "The file is not a TFLite model: its identifier is missing",
            where=str(path),
            todo="Export the bundle again",
        )


def _ids(ids: Any) -> list[int]:
    return [] if ids is None else [int(i) for i in ids]


def _tensor(model: Any, tensor: Any) -> Tensor:
    name = tensor.name.decode(errors="replace") if isinstance(tensor.name, bytes) else str(tensor.name or "")
    data = model.buffers[tensor.buffer].data if tensor.buffer else None
    shape = () if tensor.shape is None else tuple(int(dim) for dim in tensor.shape)
    return Tensor(name, _dtypes()[tensor.type], shape, data is not None)


def _op_name(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _op_names().get(number, f"operator {number}")
    if name == "CUSTOM" and code.customCode:
        return code.customCode.decode() if isinstance(code.customCode, bytes) else str(code.customCode)
    return name


@cache
def _op_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {value: key for key, value in vars(BuiltinOperator).items() if isinstance(value, int)}


@cache
def _dtypes() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {value: key.lower() for key, value in vars(TensorType).items() if isinstance(value, int)}
