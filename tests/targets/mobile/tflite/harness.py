"""One ONNX node through the converter and LiteRT's interpreter, against ONNX Runtime running the file as written.

In float the two differ by the order of sums. With QuantizeLinear and DequantizeLinear around every tensor, the results
lie on a grid; an integer kernel may round to the neighbour of what ONNX Runtime gives, and no further.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper, numpy_helper

from edgepack.targets.mobile._tflite.convert import Conversion, convert
from edgepack.toolchain import tflite

OPSET = 21


@dataclass(frozen=True)
class Given:
    """An input that a caller gives."""

    array: np.ndarray


@dataclass(frozen=True)
class Case:
    """One node.

    Attributes:
        op: ONNX's operator.
        inputs: `Given` arrays, constant arrays, or None for an input that is left out.
        attributes: The node's.
        outputs: How many it has; names of those that are read.
        opset: Version of the standard operators.
        integer: Activation types for which the quantized form must be computed with integers.
        quantized: Whether a quantized form that must be computed in float is tried too.
        steps: Steps of the output's scale by which 16-bit results may differ; 8-bit ones by one.
        uses: An operator that the result must have.
    """

    op: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = OPSET
    integer: tuple[str, ...] = ()
    quantized: bool = False
    steps: int = 1
    uses: str | None = None
    tolerance: float = 2e-6

    @property
    def name(self) -> str:
        shapes = ["-" if i is None else "x".join(map(str, _array(i).shape)) or "0d" for i in self.inputs]
        more = [
            f"{k}={v if isinstance(v, (int, float, str, list)) else '...'}"
            for k, v in self.attributes.items()
        ]
        return "-".join(
            [self.op, *shapes, *more, *(["opset" + str(self.opset)] if self.opset != OPSET else [])]
        )


def _array(value: Any) -> np.ndarray:
    return value.array if isinstance(value, Given) else np.asarray(value)


def given(*shape: int, seed: int = 0, low: float | None = None, high: float = 1.0) -> Given:
    """A computed float input: normal numbers, or uniform ones between two bounds."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape) if low is None else random.uniform(low, high, shape)
    return Given(values.astype(np.float32))


def ints(*shape: int, high: int = 5, low: int = 0, seed: int = 0, dtype: Any = np.int64) -> Given:
    return Given(np.random.default_rng(seed).integers(low, high, shape).astype(dtype))


def bools(*shape: int, seed: int = 0) -> Given:
    return Given(np.random.default_rng(seed).integers(0, 2, shape).astype(bool))


def weight(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def axes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def value_info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def build(case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The case as a model, and what it is given."""
    feeds, weights, names = {}, [], []
    for index, value in enumerate(case.inputs):
        name = f"i{index}"
        if value is None:
            names.append("")
            continue
        names.append(name)
        if isinstance(value, Given):
            feeds[name] = value.array
        else:
            weights.append(numpy_helper.from_array(np.asarray(value), name))
    outputs = [f"o{index}" for index in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, name=f"the_{case.op}", **case.attributes)
    model = wrap([node], feeds, weights, outputs, case.opset)
    return model, feeds


def wrap(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, np.ndarray],
    weights: Sequence[onnx.TensorProto],
    outputs: Sequence[str],
    opset: int = OPSET,
    functions: Any = (),
) -> onnx.ModelProto:
    """A model of these nodes, its outputs' types inferred."""
    empty = [onnx.ValueInfoProto(name=name) for name in outputs]
    inputs = [value_info(name, array) for name, array in feeds.items()]
    graph = helper.make_graph(list(nodes), "case", inputs, empty, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], functions=functions)
    model.ir_version = 10
    del graph
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    found = {info.name: info for info in (*inferred.graph.output, *inferred.graph.value_info)}
    del model.graph.output[:]
    model.graph.output.extend(found[name] for name in outputs)
    return model


def expected(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes of the file as written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    result: list[np.ndarray] = session.run(None, dict(feeds))
    return result


def converted(model: onnx.ModelProto, path: Path, **options: Any) -> Conversion:
    return convert(ir.serde.deserialize_model(model), path, **options)


def run(path: Path, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    """One call through LiteRT's interpreter, by the file's signature; images as the file's note says."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(path), num_threads=1)
    last = tflite.read_note(path).get(tflite.CHANNELS_LAST, ())
    runner = interpreter.get_signature_runner(tflite.SIGNATURE_KEY)
    details = runner.get_input_details()
    own = {
        name: (array.transpose(0, 2, 3, 1) if name in last else array).astype(details[name]["dtype"])
        for name, array in feeds.items()
        if name in details
    }
    got = runner(**own)
    return [got[name] for name in outputs]


def activation_parameters(array: np.ndarray, kind: str, *, unsigned: bool = False) -> tuple[Any, Any, Any]:
    """Scale and zero point that hold an array and 0."""
    low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
    if high == low:
        high = 1.0
    if kind == "int16":
        return np.float32(max(-low, high) / 32767), np.int16(0), np.int16
    scale = np.float32((high - low) / 255)
    zero = round(-low / float(scale))
    return (scale, np.uint8(zero), np.uint8) if unsigned else (scale, np.int8(zero - 128), np.int8)


def weight_parameters(array: np.ndarray, axis: int | None) -> tuple[Any, np.ndarray]:
    """Symmetric int8 scales, along an axis or for all."""
    others = tuple(a for a in range(array.ndim) if a != axis) if axis is not None else None
    scale = np.maximum(np.abs(array).max(axis=others), 1e-6) / 127
    spread = scale if axis is None else scale.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    return np.asarray(scale, np.float32), np.clip(np.rint(array / spread), -127, 127).astype(np.int8)


def computes_in_float(path: Path) -> list[str]:
    """Operators that read or write float, conversions left out."""
    return [
        op.op
        for op in tflite.operators(tflite.read(path))
        if op.op not in {"QUANTIZE", "DEQUANTIZE"}
        and any(t is not None and t.dtype == "float32" for t in (*op.inputs, *op.outputs))
    ]
