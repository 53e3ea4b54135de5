"""Weights of 4 bits stay so in the file, two a byte, and are multiplied as integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.toolchain import tflite
from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.networks import Network
from tests.targets.mobile.tflite.test_quantized_models import near

RATIO = np.float32(127 / 7)


def narrowed(model: onnx.ModelProto) -> int:
    """Give every int8 weight 4 bits and a scale as much larger; returns how many."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    count = 0
    for node in model.graph.node:
        tensor = stored.get(node.input[0])
        if node.op_type != "DequantizeLinear" or tensor is None or tensor.data_type != TensorProto.INT8:
            continue
        raw, scale = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
        small = np.clip(np.rint(raw / RATIO), -7, 7).astype(int)
        zeros = np.zeros(scale.shape, int)
        for name, values in ((node.input[0], small), (node.input[2], zeros)):
            made = helper.make_tensor(name, TensorProto.INT4, values.shape, values.reshape(-1).tolist())
            stored[name].CopyFrom(made)
        stored[node.input[1]].CopyFrom(numpy_helper.from_array(scale * RATIO, node.input[1]))
        count += 1
    return count


def layer(kind: str) -> tuple[onnx.ModelProto, Network]:
    n = Network()
    if kind == "FULLY_CONNECTED":  # an odd number of weights
        return n.model(n.op("MatMul", n.input("x", 4, 33), n.weight((33, 21)))), n
    image = n.input("image", 1, 3 if kind == "CONV_2D" else 8, 9, 9)
    return n.model(n.conv(image, 3, 8) if kind == "CONV_2D" else n.conv(image, 1, 8, group=8)), n


@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"])
def test_weights_of_four_bits(kind: str, tmp_path: Path) -> None:
    plain, n = layer(kind)
    made, steps = quantize.quantized(plain, n.feeds, "int8")
    assert narrowed(made) == 1
    path = tmp_path / "m.tflite"
    harness.converted(made, path)
    ((name, step),) = steps.items()
    (got,) = harness.run(path, n.feeds, [name])
    assert near(got, harness.expected(made, n.feeds)[0], step) == 1.0
    assert harness.computes_in_float(path) == []
    (operator,) = (op for op in tflite.operators(tflite.read(path)) if op.op == kind)
    assert operator.inputs[1] is not None
    assert operator.inputs[1].dtype == "int4"
