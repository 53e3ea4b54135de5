"""Writing a `.tflite` file with its weights streamed behind the tables.

A flatbuffer refers to a vector by the distance to it, which is unsigned: whatever is referred to lies further back in
the file. So the tables are packed first, with a vector of one byte in place of each constant, and the constants are
written behind them, one at a time; then each reference is set to where its vector went. The result is an ordinary
TFLite file, and no constant is ever held beside another.

References and vectors are limited to 2^31 bytes. A larger file has its constants outside of the flatbuffer: the
schema's `Buffer.offset` and `Buffer.size`, 64 bits wide, which LiteRT reads and other readers may not.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Hashable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgepack.targets.mobile._tflite import options, versions
from edgepack.targets.mobile._tflite.graph import Graph, Operator, Tensor, Values
from edgepack.toolchain import tflite

INLINE_LIMIT = 2**31 - 2**16
"""Bytes of constants from which they lie outside of the flatbuffer; below, room for the tables is left."""
_ALIGNMENT = 16  # the schema's force_align of Buffer.data
_DATA, _OFFSET, _SIZE = 4, 6, 8  # places of Buffer's fields in its vtable
_LAST_OLD_CODE = 127  # codes beyond do not fit into the first field that schema 3 had for them


def write(graph: Graph, path: Path, *, inline_limit: int = INLINE_LIMIT) -> None:
    """Write a graph as the main one of a `.tflite` file, under a temporary name that is renamed at the end.

    Args:
        graph: Every tensor's dtype and shape known.
        path: Where it goes.
        inline_limit: Bytes of constants above which they are stored outside of the flatbuffer.

    Raises:
        OSError: The file cannot be written.
    """
    plan = _Plan(graph)
    inline = sum(values.nbytes + _ALIGNMENT for values in plan.constants) < inline_limit
    tables = bytearray(_pack(_model(graph, plan, inline=inline)))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(tables)
            for index, values in enumerate(plan.constants, 1):
                _append(file, tables, index, values, inline=inline)
            file.seek(0)
            file.write(tables)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Plan:
    """Numbers of tensors, constants and operator codes; buffer 0 is the empty one."""

    def __init__(self, graph: Graph) -> None:
        self.tensors: dict[Tensor, int] = {}
        self.constants: list[Values] = []
        self.buffers: dict[Tensor, int] = {}
        self.codes: dict[tuple[str, int], int] = {}
        shared: dict[Hashable, int] = {}
        used = [
            t for operator in graph.operators for t in (*operator.inputs, *operator.outputs) if t is not None
        ]
        for tensor in (*graph.inputs.values(), *used, *graph.outputs.values()):
            if tensor in self.tensors:
                continue
            self.tensors[tensor] = len(self.tensors)
            if tensor.values is None:
                continue
            key = tensor.values.key if tensor.values.key is not None else id(tensor)
            if key not in shared:
                self.constants.append(tensor.values)
                shared[key] = len(self.constants)
            self.buffers[tensor] = shared[key]

    def code(self, operator: Operator) -> int:
        return self.codes.setdefault((operator.code, versions.version(operator)), len(self.codes))


def _model(graph: Graph, plan: _Plan, *, inline: bool) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.description = 3, b"edgepack"
    main = schema.SubGraphT()
    main.name = b"main"
    main.tensors = [_tensor(tensor, plan.buffers.get(tensor, 0)) for tensor in plan.tensors]
    main.operators = [_operator(operator, plan) for operator in graph.operators]
    main.inputs = _ids(list(graph.inputs.values()), plan)
    main.outputs = _ids(list(graph.outputs.values()), plan)
    model.subgraphs = [main]
    model.operatorCodes = [_code(name, version) for name, version in plan.codes]
    model.buffers = [schema.BufferT()]
    for _ in plan.constants:
        buffer = schema.BufferT()
        if inline:
            buffer.data = np.zeros(1, np.uint8)
        else:
            buffer.offset = buffer.size = 2  # 0 would leave the fields out
        model.buffers.append(buffer)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = tflite.SIGNATURE_KEY, 0
    signature.inputs = _maps(graph.inputs, plan)
    signature.outputs = _maps(graph.outputs, plan)
    model.signatureDefs = [signature]
    tflite.set_note(model, {tflite.CHANNELS_LAST: graph.channels_last})
    return model


def _maps(tensors: dict[str, Tensor], plan: _Plan) -> list[Any]:
    from ai_edge_litert import schema_py_generated as schema

    found = []
    for name, tensor in tensors.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, plan.tensors[tensor]
        found.append(entry)
    return found


def _ids(tensors: list[Any], plan: _Plan) -> np.ndarray:
    return np.array([-1 if tensor is None else plan.tensors[tensor] for tensor in tensors], np.int32)


def _tensor(tensor: Tensor, buffer: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorT()
    made.name, made.buffer, made.hasRank = tensor.name.encode(), buffer, True
    made.type = getattr(schema.TensorType, tensor.dtype.upper())
    made.shape = np.array(tensor.example or [abs(dim) for dim in tensor.shape], np.int32)
    if any(dim < 0 for dim in tensor.shape):
        made.shapeSignature = np.array(tensor.shape, np.int32)
    if tensor.quantization is not None:
        parameters = schema.QuantizationParametersT()
        parameters.scale = tensor.quantization.scales.astype(np.float32)
        parameters.zeroPoint = tensor.quantization.zero_points.astype(np.int64)
        parameters.quantizedDimension = tensor.quantization.axis
        made.quantization = parameters
    return made


def _operator(operator: Operator, plan: _Plan) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorT()
    made.opcodeIndex = plan.code(operator)
    made.inputs, made.outputs = _ids(operator.inputs, plan), _ids(operator.outputs, plan)
    built = options.build(operator.code, operator.options)
    if built is not None:
        name = options.table(operator.code)
        if operator.code in options.SECOND_UNION:
            made.builtinOptions2Type, made.builtinOptions2 = getattr(schema.BuiltinOptions2, name), built
        else:
            made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, name), built
    return made


def _code(name: str, version: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.OperatorCodeT()
    entry.builtinCode = getattr(schema.BuiltinOperator, name)
    entry.deprecatedBuiltinCode = min(entry.builtinCode, _LAST_OLD_CODE)
    entry.version = version
    return entry


def _pack(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    packed: bytes = builder.Output()
    return packed


def _append(file: BinaryIO, tables: bytearray, index: int, values: Values, *, inline: bool) -> None:
    """Write one constant at the end of the file, and into the tables where it lies."""
    from ai_edge_litert import schema_py_generated as schema

    table = schema.Model.GetRootAs(tables, 0).Buffers(index)._tab  # noqa: SLF001 - to reach its fields' places
    end = file.tell()
    head = 4 if inline else 0  # a vector begins with its length
    file.write(bytes(-(end + head) % _ALIGNMENT))
    start = file.tell()
    if inline:
        reference = table.Pos + table.Offset(_DATA)
        struct.pack_into("<I", tables, reference, start - reference)
        file.write(struct.pack("<I", values.nbytes))
    else:
        struct.pack_into("<Q", tables, table.Pos + table.Offset(_OFFSET), start)
        struct.pack_into("<Q", tables, table.Pos + table.Offset(_SIZE), values.nbytes)
    file.write(_bytes(values))


def _bytes(values: Values) -> memoryview:
    """The values as they lie in the file; two int4 a byte, the first in the lower half."""
    array = values.read()
    if array.shape != values.shape:
        msg = f"values of shape {array.shape} where {values.shape} was announced"
        raise ValueError(msg)
    if values.dtype == "int4":
        flat = array.reshape(-1).astype(np.uint8) & 0xF
        flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
        array = flat[::2] | flat[1::2] << 4
    elif str(array.dtype) != values.dtype:
        msg = f"values of {array.dtype} where {values.dtype} was announced"
        raise ValueError(msg)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
