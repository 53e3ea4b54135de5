"""Tables that are looked up, in the integers of what reads them: a lookup then copies, and converts nothing.

    QUANTIZE(EMBEDDING_LOOKUP(ids, table))  =  GATHER(QUANTIZE(table), ids)

exactly, for rows are rounded one number at a time. In 8-bit rows a table of MiniLM's is off by 2.5 % of its root mean
square, since single components are twenty times the others; in the activations' 16 bits by 0.03 %.
"""

from __future__ import annotations

from typing import Any

from edgepack.toolchain import tflite


def integer_lookups(model: Any) -> int:
    """Rewrite every lookup in a float table that only a QUANTIZE per tensor reads, in place; returns how many."""
    graph = model.subgraphs[0]
    operators = list(graph.operators)
    names = [operator.op for operator in tflite.operators(model)]
    readers: dict[int, list[int]] = {}
    for index, raw in enumerate(operators):
        for tensor in raw.inputs:
            readers.setdefault(int(tensor), []).append(index)
    ends = {int(tensor) for tensor in graph.outputs}
    dead: set[int] = set()
    for index, raw in enumerate(operators):
        made = int(raw.outputs[0])
        read = readers.get(made, [])
        if names[index] != "EMBEDDING_LOOKUP" or len(read) != 1 or made in ends:
            continue
        reader = operators[read[0]]
        if names[read[0]] == "QUANTIZE" and _gathered(model, raw, int(reader.outputs[0])):
            dead.add(read[0])
    graph.operators = [raw for index, raw in enumerate(operators) if index not in dead]
    _empty_unread(model)
    return len(dead)


def _gathered(model: Any, raw: Any, result: int) -> bool:
    """Make an EMBEDDING_LOOKUP a GATHER of integers that computes `result`; False where its table is none."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    ids, table = (int(tensor) for tensor in raw.inputs)
    old, like = graph.tensors[table], graph.tensors[result]
    integers = _quantized(model, old, like)
    if integers is None:
        return False
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(integers.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.hasRank = old.name + b"/integers", old.shape, True
    tensor.type, tensor.quantization, tensor.buffer = like.type, like.quantization, len(model.buffers) - 1
    graph.tensors.append(tensor)
    raw.opcodeIndex = _code(model, schema)
    raw.inputs, raw.outputs = [len(graph.tensors) - 1, ids], [result]
    raw.builtinOptionsType, raw.builtinOptions = schema.BuiltinOptions.GatherOptions, schema.GatherOptionsT()
    return True


def _empty_unread(model: Any) -> None:
    """Constants that no operator reads any more weigh nothing."""
    for graph in model.subgraphs:
        read = {int(t) for raw in graph.operators for t in raw.inputs} | {int(t) for t in graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            if index not in read:
                tensor.buffer = 0
    kept = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    kept |= {entry.buffer for entry in model.metadata or []}
    for index, one in enumerate(model.buffers):
        if index not in kept:
            one.data = None


def _quantized(model: Any, table: Any, like: Any) -> Any:
    """The table in the integers of a tensor with one scale; None where either is of another kind."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import TensorType

    data, q = model.buffers[table.buffer].data, like.quantization
    width = {TensorType.INT8: np.int8, TensorType.INT16: np.int16}.get(like.type)
    if data is None or table.type != TensorType.FLOAT32 or width is None or q is None or len(q.scale) != 1:
        return None
    real = np.frombuffer(data, np.float32) / np.float32(q.scale[0])
    steps = np.trunc(real + np.copysign(np.float32(0.5), real)) + int(q.zeroPoint[0])  # as the kernel rounds
    limits = np.iinfo(width)
    return np.clip(steps, limits.min, limits.max).astype(width)


def _code(model: Any, schema: Any) -> int:
    gather = schema.BuiltinOperator.GATHER
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == gather:
            code.version = max(code.version, 4)  # 4: of int16
            return index
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = gather
    made.version = 4
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1
