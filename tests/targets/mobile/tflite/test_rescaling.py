"""Integers that change their scale: exactly, although LiteRT's kernel for QUANTIZE has eight bits for the ratio."""

import numpy as np
import pytest

from edgepack.targets.mobile._tflite.graph import Graph, held
from edgepack.targets.mobile._tflite.passes.rescaling import exact_rescaling
from edgepack.targets.mobile._tflite.quantization import per_tensor
from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.networks import Network


def test_a_concatenation_of_three_scales(tmp_path):
    n = Network()
    names = [n.input(f"x{index}", 1, 5, 8, 8) for index in range(3)]
    for index, name in enumerate(names):
        n.feeds[name] *= np.float32(1 + 0.3 * index)
    made, (name,) = quantize.quantized(n.model(n.op("Concat", *names, axis=1)), n.feeds, "int8")
    conversion = harness.converted(made, tmp_path / "m.tflite")
    (got,) = harness.run(tmp_path / "m.tflite", n.feeds, [name])
    np.testing.assert_array_equal(got, harness.expected(made, n.feeds)[0])
    assert conversion.operators["MUL"] == len(names)
    assert conversion.operators["QUANTIZE"] == len(names)  # what the caller gives in float
    assert harness.computes_in_float(tmp_path / "m.tflite") == []


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        (("int8", 0.1, 0), ("int8", 0.1, -128), "QUANTIZE"),  # uint8 in other words
        (("int8", 0.125, 3), ("int8", 0.25, 5), "QUANTIZE"),  # 128 of 256
        (("int8", 0.1, 3), ("int8", 0.11, 5), "MUL"),
        (("uint8", 0.1, 3), ("int8", 0.11, 5), "QUANTIZE"),  # has no product of the two
        (("int16", 0.1, 0), ("int16", 0.11, 0), "QUANTIZE"),  # LiteRT's own kernel, of 31 bits
        (("int16", 0.1, 0), ("int8", 0.11, 0), "QUANTIZE"),
    ],
)
def test_only_what_would_be_off_is_a_product(source, target, code):
    graph = Graph()
    before, after = (
        graph.tensor(name, dtype, (1, 4), per_tensor(scale, zero))
        for name, (dtype, scale, zero) in (("before", source), ("after", target))
    )
    graph.add("QUANTIZE", [before], [after])
    assert exact_rescaling(graph) == (code == "MUL")
    (operator,) = graph.operators
    assert operator.code == code
    assert operator.inputs[0] is before
    assert operator.outputs == [after]


def test_weights_are_left_alone():
    graph = Graph()
    weight = graph.constant(held(np.ones((2, 2), np.float32)), "w")
    graph.add("QUANTIZE", [weight], [graph.tensor("q", "int8", (2, 2), per_tensor(0.1))])
    assert exact_rescaling(graph) == 0
