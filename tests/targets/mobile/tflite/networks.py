"""Small networks of several nodes, as ONNX."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.targets.mobile.tflite import harness


class Network:
    """Nodes one after the other; weights are random and small."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.feeds: dict[str, np.ndarray] = {}
        self.weights: list[onnx.TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def input(self, name: str, *shape: int) -> str:
        self.feeds[name] = self.random.standard_normal(shape).astype(np.float32)
        return name

    def weight(self, array: np.ndarray | tuple[int, ...], name: str = "") -> str:
        if isinstance(array, tuple):
            array = (self.random.standard_normal(array) / np.sqrt(np.prod(array[1:]))).astype(np.float32)
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def op(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"v{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else " ".join(names)

    def conv(self, x: str, into: int, out: int, size: int = 3, **attributes: object) -> str:
        half = size // 2
        return self.op("Conv", x, self.weight((out, into, size, size)), self.weight((out, 1)[:1]),
                       **({"pads": [half] * 4} | attributes))  # fmt: skip

    def model(self, *outputs: str) -> onnx.ModelProto:
        return harness.wrap(self.nodes, self.feeds, self.weights, outputs)
