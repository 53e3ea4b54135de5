"""Dimensions that callers choose: open in the file, and any size when it is run."""

import numpy as np
import pytest

from edgepack.targets.mobile._tflite.base import NotServed
from edgepack.toolchain import tflite
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


def test_an_open_length(tmp_path):
    n = Network()
    model = opened(n.model(attention(n)), {0: "batch", 1: "length"})
    path = tmp_path / "m.tflite"
    with pytest.raises(
        NotServed, match=r"two of the result's dimensions are open.*all named dimensions but one"
    ):
        harness.converted(model, path)
    harness.converted(model, path, sizes={"batch": 1})
    for length in (3, 9):
        feeds = {"x": np.random.default_rng(length).standard_normal((1, length, 16)).astype("f4")}
        (got,) = harness.run(path, feeds, [model.graph.output[0].name])
        np.testing.assert_allclose(got, harness.expected(model, feeds)[0], rtol=1e-4, atol=1e-5)


def test_an_open_image_is_refused(tmp_path):
    n = Network()
    model = opened(n.model(n.conv(n.input("x", 1, 3, 8, 8), 3, 4)), {2: "height"})
    with pytest.raises(NotServed, match=r"image's size is open.*height and width"):
        harness.converted(model, tmp_path / "m.tflite")
