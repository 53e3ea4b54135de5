"""The shapes that are measured, and what stands against the binary layer in each: fp32, and the fastest int8.

int8 of a linear layer is DynamicQuantizeLinear and MatMulInteger with scales per channel; of a convolution QLinearConv
between QuantizeLinear and DequantizeLinear. ConvInteger is slower than fp32 and stands against nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.runtime.kernels.convolutions import random_convolution
from tests.runtime.kernels.layers import BinaryLayer


@dataclass(frozen=True)
class Shape:
    """A layer, and what it must reach against fp32 and int8 (0: nothing).

    Attributes:
        title: For people.
        rows: Rows of a linear layer; height and width of a convolution's image.
        inputs: K, or channels.
        outputs: N, or channels.
        conv: Whether it is a 3x3 convolution with padding 1.
        over_fp32: The least ratio of times.
        over_int8: The same.
    """

    title: str
    rows: int
    inputs: int
    outputs: int
    conv: bool
    over_fp32: float
    over_int8: float

    @property
    def products(self) -> int:
        """Of one call: of a convolution those of taps that meet the image, three a pixel but at its two ends."""
        places = (3 * self.rows - 2) ** 2 if self.conv else self.rows
        return places * self.inputs * self.outputs

    @property
    def bytes_read(self) -> int:
        """Activations in float32 and weights in bits, each once; what is written comes on top."""
        pixels = self.rows * (self.rows if self.conv else 1)
        return 4 * pixels * self.inputs + self.weight_bytes

    @property
    def weight_bytes(self) -> int:
        """Weights in bits."""
        return self.inputs * self.outputs * (9 if self.conv else 1) // 8

    def x(self) -> np.ndarray:
        """An input."""
        shape = (1, self.inputs, self.rows, self.rows) if self.conv else (self.rows, self.inputs)
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


SHAPES = [
    Shape("linear 128, 768 to 768", 128, 768, 768, conv=False, over_fp32=13, over_int8=2),
    Shape("linear 128, 768 to 3072", 128, 768, 3072, conv=False, over_fp32=13, over_int8=2),
    Shape("linear 128, 3072 to 768", 128, 3072, 768, conv=False, over_fp32=13, over_int8=2),
    Shape("linear 1, 768 to 768", 1, 768, 768, conv=False, over_fp32=15, over_int8=0),
    Shape("linear 1, 768 to 3072", 1, 768, 3072, conv=False, over_fp32=50, over_int8=0),
    Shape("linear 1, 3072 to 768", 1, 3072, 768, conv=False, over_fp32=60, over_int8=0),
    Shape("conv 3x3, 56x56x64", 56, 64, 64, conv=True, over_fp32=9, over_int8=3),
    Shape("conv 3x3, 28x28x128", 28, 128, 128, conv=True, over_fp32=9, over_int8=3),
    Shape("conv 3x3, 14x14x256", 14, 256, 256, conv=True, over_fp32=9, over_int8=3),
    Shape("conv 3x3, 7x7x512", 7, 512, 512, conv=True, over_fp32=9, over_int8=3),
]


def models(shape: Shape) -> dict[str, onnx.ModelProto]:
    """The three forms of a layer, by name."""
    rng = np.random.default_rng(1)
    n, k = shape.outputs, shape.inputs
    if shape.conv:
        binary = replace(random_convolution(rng, n, k), shift=np.zeros(1, np.float32)).model()
        return {"fp32": _conv_fp32(rng, n, k), "int8": _conv_int8(rng, n, k), "1-bit": binary}
    binary = BinaryLayer.random(rng, n, k, "zero").model()
    return {"fp32": _linear_fp32(rng, n, k), "int8": _linear_int8(rng, n, k), "1-bit": binary}


def nothing() -> onnx.ModelProto:
    """What a call of the runtime costs: one operator that copies one number."""
    return _model([helper.make_node("Identity", ["x"], ["y"])], 1)


def _linear_fp32(rng: np.random.Generator, n: int, k: int) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    return _model([node], 2, w=_floats(rng, k, n), b=_floats(rng, n))


def _linear_int8(rng: np.random.Generator, n: int, k: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "s"], ["both"]),
        helper.make_node("Mul", ["floats", "both"], ["scaled"]),
        helper.make_node("Add", ["scaled", "b"], ["y"]),
    ]
    return _model(nodes, 2, w=_bytes(rng, k, n), s=_floats(rng, n), b=_floats(rng, n))


def _conv_fp32(rng: np.random.Generator, n: int, k: int) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1] * 4)
    return _model([node], 4, w=_floats(rng, n, k, 3, 3), b=_floats(rng, n))


def _conv_int8(rng: np.random.Generator, n: int, k: int) -> onnx.ModelProto:
    given = ["q", "s", "z", "w", "ws", "wz", "ys", "z", "b"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", given, ["r"], pads=[1] * 4),
        helper.make_node("DequantizeLinear", ["r", "ys", "z"], ["y"]),
    ]
    scale = np.array(0.03, np.float32)
    constants = {
        "s": scale,
        "z": np.array(128, np.uint8),
        "ws": np.full(n, 0.01, np.float32),
        "wz": np.zeros(n, np.int8),
        "ys": scale * 9,
        "b": np.zeros(n, np.int32),
    }
    return _model(nodes, 4, w=_bytes(rng, n, k, 3, 3), **constants)


def _floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _bytes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-127, 128, shape).astype(np.int8)


def _model(nodes: list[onnx.NodeProto], rank: int, **constants: np.ndarray) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in "xy")
    made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "one-layer", [x], [y], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
