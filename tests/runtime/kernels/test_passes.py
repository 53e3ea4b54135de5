"""Clean-up, shape inference and the checker know a file with native operators through its functions."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgepack.runtime import kernels
from edgepack.runtime.kernels import functions
from edgepack.toolchain.passes import clean_up
from edgepack.toolchain.passes.base import passes
from tests.runtime.kernels.convolutions import random_convolution
from tests.runtime.kernels.layers import BinaryLayer

TEXT = """
<ir_version: 8, opset_import: ["" : 18, "edgepack" : 1]>
g (float[batch, 10, 8, 8] x) => (float[batch, classes] y) {
    same = Identity(x)
    maps = edgepack.BinConv <K = 10, group = 1, strides = [2, 2], dilations = [1, 1], pads = [1, 1, 1, 1]>
        (same, weights, alpha, bias, shift)
    unused = edgepack.BinLinear <K = 4> (maps, w2, a2, b2, s2)
    rows = Flatten(maps)
    scores = edgepack.BinLinear <K = 96> (rows, w1, a1, b1, s1)
    y = Relu(scores)
}
"""


def network(rng: np.random.Generator) -> ir.Model:
    """A binary convolution and a binary linear layer, with some things in it that a clean-up takes out."""
    proto = onnx.parser.parse_model(TEXT)
    constants = random_convolution(rng, 6, 10).inputs()
    for place, layer in (("1", BinaryLayer.random(rng, 5, 96)), ("2", BinaryLayer.random(rng, 3, 4))):
        names = {"weights": "w", "alpha": "a", "bias": "b", "shift": "s"}
        constants.update({names[name] + place: value for name, value in layer.inputs().items()})
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    model = ir.from_proto(proto)
    assert functions.add_fallbacks(model) == 2
    return model


def run(model: ir.Model, x: np.ndarray, *, native: bool) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if native:
        assert kernels.register(options)
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)


def test_clean_up_keeps_the_functions(library) -> None:
    rng = np.random.default_rng(0)
    model = network(rng)
    x = rng.standard_normal((3, 10, 8, 8)).astype(np.float32)
    before = {native: run(model, x, native=native) for native in (True, False)}
    clean_up.clean_up(model)
    assert [node.op_type for node in model.graph] == ["BinConv", "Flatten", "BinLinear", "Relu"]
    assert {function.name for function in model.functions.values()} == {"BinConv", "BinLinear"}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for native, y in before.items():
        np.testing.assert_array_equal(run(model, x, native=native), y)


def test_shapes_come_from_the_functions() -> None:
    model = network(np.random.default_rng(1))
    assert passes.get("shapes")(model) > 0
    known = {value.name: value for node in model.graph for value in node.outputs}
    assert known["maps"].dtype is ir.DataType.FLOAT
    assert [str(size) for size in known["maps"].shape or ()] == ["batch", "6", "4", "4"]
    assert [str(size) for size in known["rows"].shape or ()] == ["batch", "96"]
    assert known["scores"].dtype is ir.DataType.FLOAT
    assert [str(size) for size in known["scores"].shape or ()] == ["batch", "5"]
