"""Dimensions that callers choose: open in the file, and any size when it is run."""

import re

import numpy as np
import onnx
import pytest

from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.mobile._tflite.base import NotServed
from edgepack.toolchain import tflite
from edgepack.toolchain.program import Signature, TensorSpec
from tests.targets.mobile.tflite import harness
from tests.targets.mobile.tflite.networks import Network


def opened(model, dims):
    """The model with named dimensions in its first input; what was inferred of other shapes is dropped."""
    for axis, name in dims.items():
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def dense(n):
    x = n.op("Relu", n.op("Gemm", n.input("x", 2, 8), n.weight((8, 16)), n.weight((16,))))
    return n.op("Softmax", n.op("MatMul", x, n.weight((16, 4))))


def convolutions(n):
    x = n.op("Relu", n.conv(n.input("x", 2, 3, 12, 12), 3, 8, strides=[2, 2]))
    x = n.op("Add", n.conv(x, 8, 8), x)
    return n.op("Gemm", n.op("Flatten", n.op("GlobalAveragePool", x)), n.weight((8, 5)), n.weight((5,)))


def attention(n):
    x = n.input("x", 2, 6, 16)

    def heads(order):
        return n.op("Transpose", n.op("Reshape", n.op("MatMul", x, n.weight((16, 16))),
                                      n.weight(np.array([0, 0, 4, 4]))), perm=order)  # fmt: skip

    scores = n.op("Softmax", n.op("MatMul", heads([0, 2, 1, 3]), heads([0, 2, 3, 1])), axis=-1)
    mixed = n.op("Transpose", n.op("MatMul", scores, heads([0, 2, 1, 3])), perm=[0, 2, 1, 3])
    y = n.op("Add", n.op("Reshape", mixed, n.weight(np.array([0, 0, 16]))), x)
    return n.op("LayerNormalization", y, n.weight((16,)), n.weight((16,)))


@pytest.mark.parametrize("build", [dense, convolutions, attention])
def test_an_open_batch(build, tmp_path):
    n = Network()
    model = opened(n.model(build(n)), {0: "batch"})
    path = tmp_path / "m.tflite"
    harness.converted(model, path)
    graph = tflite.read(path).subgraphs[0]
    assert graph.tensors[graph.inputs[0]].shapeSignature[0] == -1
    name = model.graph.output[0].name
    for batch in (1, 2, 5):
        feeds = {
            "x": np.random.default_rng(batch).standard_normal((batch, *n.feeds["x"].shape[1:])).astype("f4")
        }
        (got,) = harness.run(path, feeds, [name])
        np.testing.assert_allclose(got, harness.expected(model, feeds)[0], rtol=1e-4, atol=1e-5)


def test_an_open_batch_and_length(tmp_path):
    n = Network()
    model = opened(n.model(attention(n)), {0: "batch", 1: "length"})
    path = tmp_path / "m.tflite"
    made = harness.converted(model, path, examples={"batch": 3, "length": 7})
    assert made.outputs[model.graph.output[0].name] == (-1, -1, 16)
    graph = tflite.read(path).subgraphs[0]
    given = graph.tensors[graph.inputs[0]]
    assert (list(given.shape), list(given.shapeSignature)) == ([3, 7, 16], [-1, -1, 16])
    for sizes in ((1, 3), (2, 9), (1, 1), (4, 2)):
        feeds = {"x": np.random.default_rng(7).standard_normal((*sizes, 16)).astype("f4")}
        (got,) = harness.run(path, feeds, [model.graph.output[0].name])
        np.testing.assert_allclose(got, harness.expected(model, feeds)[0], rtol=1e-4, atol=1e-5)


CHAINS = {
    "reshape by what is computed": "s = Shape(x) b = Gather(s, zero) n = Gather(s, one) t = Concat<axis=0>(n, b, four) "
    "y = Reshape(x, t)",
    "reshape with sizes of its own": "n = Shape<start=1, end=2>(x) t = Concat<axis=0>(nought, n, two, minus) "
    "y = Reshape(x, t)",
    "flatten": "y = Flatten<axis=1>(x)",
    "squeezed": "m = ReduceMax<keepdims=1>(x, two) y = Squeeze(m, two)",
    "unsqueezed": "y = Unsqueeze(x, one)",
    "expand": "s = Shape(x) e = Expand(row, s) y = Add(e, x)",
    "expand to more dimensions": "n = Shape<start=0, end=1>(x) t = Concat<axis=0>(two, n, one, one) y = Expand(x, t)",
    "range": "n = Shape<start=1, end=2>(x) k = Squeeze(n) r = Range(start, k, step) f = Cast<to=1>(r) "
    "u = Unsqueeze(f, minus) y = Add(x, u)",
    "constant of shape": "n = Shape<start=0, end=2>(x) t = Concat<axis=0>(n, one) c = ConstantOfShape(t) y = Add(x, c)",
    "tiled": "n = Shape<start=0, end=1>(x) t = Concat<axis=0>(one, n, two) y = Tile(x, t)",
    "number of elements": "n = Size(x) f = Cast<to=1>(n) y = Div(x, f)",
    "slice to an end": "n = Shape<start=0, end=1>(x) y = Slice(x, nought, n, one)",
    "slice from a start": "n = Shape<start=0, end=1>(x) y = Slice(x, n, endless, one)",
    "slice of two dimensions": "s = Shape<start=0, end=2>(x) y = Slice(x, zeros, s, ends)",
    "last one": "y = Slice(x, minus, endless, one)",
    "all but the last": "y = Slice(x, nought, minus, one)",
    "backwards": "y = Slice(x, minus, far, one, minus)",
    "whole": "w = Slice(x, nought, endless, one) y = Neg(w)",
    "row from the end": "y = Gather<axis=1>(x, last)",
    "table": "f = ReduceMax<keepdims=0>(x, two) a = Abs(f) i = Cast<to=7>(a) y = Gather(table, i)",
    "dimensions": "y = Shape(x)",
    "input as it is": "y = Identity(x)",
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_sizes_that_are_computed_while_the_model_runs(name, tmp_path):
    nodes = re.sub(r"\) (?=\w+ = )", ")\n", CHAINS[name])
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 21]>
        net (float[batch, length, 4] x) => (y)
        <int64[1] zero = {{0}}, int64[1] nought = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}},
         int64[1] four = {{4}},
         int64[1] minus = {{-1}}, int64[1] endless = {{9223372036854775807}}, int64[1] far = {{-9223372036854775807}},
         int64[2] zeros = {{0, 0}}, int64[2] ends = {{1, 2}}, int64 start = {{0}}, int64 step = {{1}},
         int64 last = {{-1}},
         float[1, 1, 4] row = {{1, 2, 3, 4}}, float[5, 2] table = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}> {{ {nodes} }}
    """)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    path = tmp_path / "m.tflite"
    made = harness.converted(model, path)
    kind = "int64" if name == "dimensions" else "float32"
    shape = tuple(f"y{axis}" if n < 0 else n for axis, n in enumerate(made.outputs["y"]))
    signature = Signature(
        (TensorSpec("x", "float32", ("batch", "length", 4)),), (TensorSpec("y", kind, shape),)
    )
    with LitertSession(path, signature) as session:
        for sizes in ((2, 3), (1, 5), (4, 4), (3, 1), (2, 3)):
            x = np.random.default_rng(sizes[1]).standard_normal((*sizes, 4)).astype("f4")
            (want,) = harness.expected(model, {"x": x})
            got = session.run({"x": x})["y"]
            assert got.shape == want.shape  # of no elements, where a slice begins behind the end
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_no_order_of_dimensions_tells_is_refused(tmp_path):
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        net (float[batch, length, 4] x) => (float[a, b] y)
        <int64[2] places = {-1, -2}> { y = Gather<axis=1>(x, places) }
    """)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model = onnx.shape_inference.infer_shapes(model)
    with pytest.raises(NotServed, match=r"several indices from the end of an open dimension.*--size"):
        harness.converted(model, tmp_path / "m.tflite")


def test_an_open_image_is_refused(tmp_path):
    n = Network()
    model = opened(n.model(n.conv(n.input("x", 1, 3, 8, 8), 3, 4)), {2: "height"})
    with pytest.raises(NotServed, match=r"image's size is open.*height and width"):
        harness.converted(model, tmp_path / "m.tflite")
