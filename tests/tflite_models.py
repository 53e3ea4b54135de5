"""Small `.tflite` models written by hand, loaded by path: `runpy.run_path(...)["write"](folder)`.

cnn.tflite    image [1,8,8,3] (channels-last, and noted as such) -> conv, depthwise, mean, dense -> logits [1,5]
block.tflite  ids int32 [1,16] -> embeddings, mean-free squares, dense, GELU, attention-like product, mean
              over `x / max(n, 1)`, L2 normalisation -> y [1,8]: every operator that is rewritten for NPUs
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepack.toolchain import tflite
from edgepack.toolchain.program import Lowered, Signature, TensorSpec

CNN = Signature((TensorSpec("image", "float32", (1, 3, 8, 8)),), (TensorSpec("logits", "float32", (1, 5)),))
BLOCK = Signature((TensorSpec("ids", "int64", (1, 16)),), (TensorSpec("y", "float32", (1, 8)),))
_KINDS = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int32): schema.TensorType.INT32}


class Builder:
    """Appends tensors and operators to one graph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b"test"
        self.model.buffers, self.model.operatorCodes, self.model.metadata = [schema.BufferT()], [], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], b"main"
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), buffer
        tensor.type, tensor.hasRank = _KINDS[np.dtype(dtype)], True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> int:
        array = np.asarray(value, dtype)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return self.tensor(name, array.shape, dtype, len(self.model.buffers) - 1)

    def op(self, kind: str, inputs: list[int], name: str, shape: tuple[int, ...], **options: Any) -> int:
        code = getattr(schema.BuiltinOperator, kind)
        codes = [entry.builtinCode for entry in self.model.operatorCodes]
        if code not in codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
            self.model.operatorCodes.append(entry)
            codes.append(code)
        dtype = np.int32 if kind == "RESHAPE" and self._is_integer(inputs[0]) else np.float32
        output = self.tensor(name, shape, dtype)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = codes.index(code), inputs, [output]
        title = {
            "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "MEAN": "Reducer", "SUM": "Reducer",
            "BATCH_MATMUL": "BatchMatMul", "MAXIMUM": "MaximumMinimum",
        }.get(kind, "".join(word.title() for word in kind.split("_")))  # fmt: skip
        if hasattr(schema, f"{title}OptionsT"):
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{title}Options")
            operator.builtinOptions = getattr(schema, f"{title}OptionsT")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)
        return output

    def save(self, path: Path, inputs: dict[str, int], outputs: dict[str, int], note: dict[str, Any]) -> None:
        self.graph.inputs, self.graph.outputs = list(inputs.values()), list(outputs.values())
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = tflite.SIGNATURE_KEY.encode(), 0
        signature.inputs, signature.outputs = map(_map, (inputs, outputs))
        self.model.signatureDefs = [signature]
        tflite.set_note(self.model, note)
        tflite.write(self.model, path)

    def _is_integer(self, tensor: int) -> bool:
        return bool(self.graph.tensors[tensor].type == schema.TensorType.INT32)


def _map(names: dict[str, int]) -> list[Any]:
    entries = []
    for name, tensor in names.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), tensor
        entries.append(entry)
    return entries


def cnn(path: Path) -> Lowered:
    random = np.random.default_rng(0).standard_normal
    b = Builder()
    image = b.tensor("image", (1, 8, 8, 3))
    weights, bias = b.constant("w0", random((16, 3, 3, 3)) * 0.3), b.constant("b0", random(16) * 0.1)
    relu = schema.ActivationFunctionType.RELU6
    x = b.op("CONV_2D", [image, weights, bias], "conv", (1, 8, 8, 16), strideH=1, strideW=1,
             fusedActivationFunction=relu)  # fmt: skip
    weights, bias = b.constant("w1", random((1, 3, 3, 16)) * 0.3), b.constant("b1", random(16) * 0.1)
    x = b.op("DEPTHWISE_CONV_2D", [x, weights, bias], "depthwise", (1, 8, 8, 16), strideH=1, strideW=1,
             depthMultiplier=1, fusedActivationFunction=relu)  # fmt: skip
    x = b.op("MEAN", [x, b.constant("axes", [1, 2], np.int32)], "pooled", (1, 16))
    weights, bias = b.constant("w2", random((5, 16))), b.constant("b2", random(5))
    x = b.op("FULLY_CONNECTED", [x, weights, bias], "logits_tensor", (1, 5))
    b.save(path, {"image": image}, {"logits": x}, {tflite.CHANNELS_LAST: ["image"]})
    return Lowered("main", "tflite", path, CNN)


def block(path: Path) -> Lowered:
    random = np.random.default_rng(1).standard_normal
    b = Builder()
    ids = b.tensor("ids_tensor", (1, 16), np.int32)
    flat = b.op("RESHAPE", [ids, b.constant("flat_shape", [16], np.int32)], "flat", (16,))
    x = b.op("EMBEDDING_LOOKUP", [flat, b.constant("table", random((32, 8)))], "embedded", (16, 8))
    axis, first = b.constant("last", [1], np.int32), b.constant("first", [0], np.int32)
    mean = b.op("MEAN", [x, axis], "mean", (16, 1), keepDims=True)
    squares = b.op("SQUARED_DIFFERENCE", [x, mean], "squares", (16, 8))
    x = b.op("ADD", [x, squares], "sum", (16, 8))
    x = b.op("FULLY_CONNECTED", [x, b.constant("w", random((8, 8)) * 0.4), b.constant("b", random(8))],
             "dense", (16, 8))  # fmt: skip
    x = b.op("GELU", [x], "gelu", (16, 8), approximate=False)
    scores = b.op("BATCH_MATMUL", [x, x], "scores", (16, 16), adjX=False, adjY=True)
    weights = b.op("SOFTMAX", [scores], "weights", (16, 16), beta=1.0)
    x = b.op("BATCH_MATMUL", [weights, x], "mixed", (16, 8), adjX=False, adjY=False)
    total = b.op("SUM", [x, first], "total", (1, 8), keepDims=True)
    positive = b.op("MEAN", [squares, b.constant("both", [0, 1], np.int32)], "spread", (1, 1), keepDims=True)
    bounded = b.op("MAXIMUM", [positive, b.constant("least", [[0.5]])], "bounded", (1, 1))
    x = b.op("DIV", [total, bounded], "averaged", (1, 8))
    absolute = b.op("ABS", [x], "absolute", (1, 8))
    square = b.op("MUL", [absolute, absolute], "square", (1, 8))
    norm = b.op("SQRT", [b.op("SUM", [square, axis], "squared_norm", (1,))], "norm", (1,))
    norm = b.op("RESHAPE", [norm, b.constant("norm_shape", [1, 1], np.int32)], "norm_reshaped", (1, 1))
    norm = b.op("MAXIMUM", [norm, b.constant("epsilon", [[1e-12]])], "norm_bounded", (1, 1))
    x = b.op("DIV", [x, norm], "y_tensor", (1, 8))
    b.save(path, {"ids": ids}, {"y": x}, {})
    return Lowered("main", "tflite", path, BLOCK)


def write(folder: Path) -> dict[str, Lowered]:
    """Write both models, each into a folder of its own."""
    made = {}
    for name, build in (("cnn", cnn), ("block", block)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        made[name] = build(folder / name / f"{name}.tflite")
    return made
