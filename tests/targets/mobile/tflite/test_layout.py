"""Transposes around convolutions meet and cancel, whatever lies between; and what is computed stays the same."""

import numpy as np
import pytest

from edgepack.targets.mobile._tflite.passes.orders import permuted, through_reshape
from tests.targets.mobile.tflite import harness
from tests.targets.mobile.tflite.networks import Network

X = (1, 4, 6, 8)


def unary(op, **attributes):
    return lambda n, x: n.op(op, x, **attributes)


def with_weight(op, *shape):
    return lambda n, x: n.op(op, x, n.weight(shape))


def residual(n, x):
    return n.op("Add", n.conv(x, 4, 4), x)


def shuffle(n, x):
    split = n.op("Reshape", x, n.weight(np.array([1, 2, 2, 6, 8])))
    turned = n.op("Transpose", split, perm=[0, 2, 1, 3, 4])
    return n.op("Reshape", turned, n.weight(np.array(X)))


def squeeze_and_excite(n, x):
    scale = n.op("Sigmoid", n.conv(n.op("Relu", n.conv(n.op("GlobalAveragePool", x), 4, 2, 1)), 2, 4, 1))
    return n.op("Mul", x, scale)


def norm(n, x):
    mean = n.op("ReduceMean", x, n.weight(np.array([1])), keepdims=1)
    return n.op("Mul", n.op("Sub", x, mean), n.weight((4, 1, 1)))


def halves(n, x):
    first, second = n.op("Split", x, outputs=2, axis=1, num_outputs=2).split()
    return n.op("Concat", second, first, axis=1)


BETWEEN = {
    "relu": unary("Relu"),
    "hard-swish": unary("HardSwish"),
    "leaky": unary("LeakyRelu", alpha=0.1),
    "gain": with_weight("Mul", 4, 1, 1),
    "shift": with_weight("Add", 1, 4, 1, 1),
    "column": with_weight("Add", 8),
    "prelu": with_weight("PRelu", 4, 1, 1),
    "pad": lambda n, x: n.op("Pad", x, n.weight(np.array([0, 0, 1, 2, 0, 0, 0, 1]))),
    "slice": lambda n, x: n.op("Slice", x, *(n.weight(np.array([v])) for v in (1, 7, 3))),
    "strided": lambda n, x: n.op("Slice", x, *(n.weight(np.array([v])) for v in (-1, -99, 2, -2))),
    "max-pool": unary("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "average-pool": unary("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "residual": residual,
    "squeeze-and-excite": squeeze_and_excite,
    "channel-norm": norm,
    "halves": halves,
    "concat": lambda n, x: n.op("Concat", x, n.conv(x, 4, 4), axis=2),
    "gather": lambda n, x: n.op("Gather", x, n.weight(np.array([3, 1, 0, 2])), axis=1),
    "clip": lambda n, x: n.op("Clip", x, n.weight(np.float32(-0.5)), n.weight(np.float32(0.25))),
    "to-last-and-back": lambda n, x: n.op(
        "Transpose", n.op("Softmax", n.op("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2]
    ),
}


def build(between):
    n = Network()
    x = n.conv(n.input("image", *X), 4, 4)
    y = n.conv(between(n, x), 4, 3)
    return n, n.model(n.op("GlobalAveragePool", y))


@pytest.mark.parametrize("between", BETWEEN)
def test_no_transpose_is_left(between, tmp_path):
    n, model = build(BETWEEN[between])
    path = tmp_path / "model.tflite"
    conversion = harness.converted(model, path)
    (want,) = harness.expected(model, n.feeds)
    (got,) = harness.run(path, n.feeds, [model.graph.output[0].name])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert "TRANSPOSE" not in conversion.operators
    assert conversion.channels_last == ("image",)


def test_a_channel_shuffle_is_one_transpose(tmp_path):
    n, model = build(shuffle)
    conversion = harness.converted(model, tmp_path / "model.tflite")
    (got,) = harness.run(tmp_path / "model.tflite", n.feeds, [model.graph.output[0].name])
    np.testing.assert_allclose(got, harness.expected(model, n.feeds)[0], rtol=1e-5, atol=1e-6)
    assert conversion.operators["TRANSPOSE"] == 1


@pytest.mark.parametrize("channels_last", [True, False])
def test_an_image_that_is_prepared_in_the_model(channels_last, tmp_path):
    n = Network()
    x = n.op(
        "Div", n.op("Sub", n.input("image", 1, 3, 5, 7), n.weight((3, 1, 1))), n.weight(np.float32([[[2.0]]]))
    )
    model = n.model(n.op("Flatten", n.conv(x, 3, 4)))
    path = tmp_path / "model.tflite"
    conversion = harness.converted(model, path, channels_last=channels_last)
    (got,) = harness.run(path, n.feeds, [model.graph.output[0].name])
    np.testing.assert_allclose(got, harness.expected(model, n.feeds)[0], rtol=1e-5, atol=1e-6)
    # One is the layer's that flattens; the other turns the image.
    assert conversion.operators["TRANSPOSE"] == (1 if channels_last else 2)
    assert conversion.channels_last == (("image",) if channels_last else ())


def test_an_image_with_another_reader_stays_as_it_is(tmp_path):
    n = Network()
    x = n.input("image", 1, 3, 5, 7)
    model = n.model(n.conv(x, 3, 4), n.op("Softmax", x, axis=-1))
    path = tmp_path / "model.tflite"
    conversion = harness.converted(model, path)
    names = [value.name for value in model.graph.output]
    for got, want in zip(harness.run(path, n.feeds, names), harness.expected(model, n.feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert conversion.channels_last == ()


def test_reshapes_of_transposes():
    random = np.random.default_rng(0)
    for _ in range(500):
        before = random.choice([1, 2, 3, 4], size=random.integers(1, 5))
        order = tuple(int(n) for n in random.permutation(len(before)))
        after = list(before)
        for _ in range(3):
            at = int(random.integers(len(after)))
            if random.integers(2) and after[at] == 4:
                after[at : at + 1] = [2, 2]
            elif len(after) > 1 and at + 1 < len(after):
                after[at : at + 2] = [after[at] * after[at + 1]]
            else:
                after.insert(at, 1)
        y = random.permutation(int(np.prod(before))).reshape(before)
        x = y.transpose(np.argsort(order))
        assert (x.transpose(order) == y).all()
        first, shape, turned = through_reshape(y.shape, after, order)
        assert permuted(x.shape, first) == x.transpose(first).shape
        np.testing.assert_array_equal(x.transpose(first).reshape(shape).transpose(turned), y.reshape(after))
