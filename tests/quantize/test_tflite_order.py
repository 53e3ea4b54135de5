"""The place of the largest element, from integers instead of from what they stand for."""

import numpy as np
import pytest

from edgepack.quantize._tflite_order import order_integers
from edgepack.toolchain import tflite
from tests.targets.mobile.tflite import harness
from tests.targets.mobile.tflite.networks import Network


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("quantized", [True, False])
def test_the_largest_integer_is_the_largest_number(op, quantized, tmp_path):
    n = Network()
    x = n.op("Abs", n.input("x", 1, 6, 40))
    if quantized:
        scale, zero = n.weight(np.float32(0.02)), n.weight(np.int8(-128))
        x = n.op("DequantizeLinear", n.op("QuantizeLinear", x, scale, zero), scale, zero)
    model = n.model(n.op(op, x, axis=1, keepdims=1))
    path, ordered = tmp_path / "model.tflite", tmp_path / "ordered.tflite"
    before = harness.converted(model, path).operators
    changed = tflite.read(path)
    assert order_integers(changed) == quantized
    tflite.write(changed, ordered)
    kinds = [operator.op for operator in tflite.operators(tflite.read(ordered))]
    assert before["DEQUANTIZE"] == quantized
    assert "DEQUANTIZE" not in kinds
    names = [value.name for value in model.graph.output]
    (one,), (two,) = (harness.run(file, n.feeds, names) for file in (path, ordered))
    np.testing.assert_array_equal(two, one)
    np.testing.assert_array_equal(two, harness.expected(model, n.feeds)[0])
