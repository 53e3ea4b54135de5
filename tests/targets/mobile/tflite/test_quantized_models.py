"""Quantized networks as a whole: as near to the graph as written as ONNX Runtime's own integer kernels are."""

import runpy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.networks import Network

EXAMPLES = Path(__file__).parents[4] / "examples"


def as_it_runs(model, feeds):
    """ONNX Runtime with its own integer kernels."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)


def near(got, want, step):
    """Share of elements within one step."""
    return float((np.abs(got - want) <= 1.01 * step).mean())


def block(n, x):
    """An inverted bottleneck with a residual."""
    y = n.op("Relu", n.conv(x, 8, 16, 1))
    y = n.op("Clip", n.conv(y, 1, 16, 3, group=16), n.weight(np.float32(0)), n.weight(np.float32(6)))
    return n.op("Add", n.conv(y, 16, 8, 1), x)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16"])
def test_a_convolutional_network(kind, tmp_path):
    n = Network()
    x = n.op("Relu", n.conv(n.input("image", 1, 3, 24, 24), 3, 8))
    x = n.op("GlobalAveragePool", block(n, block(n, x)))
    model = n.model(n.op("Gemm", n.op("Flatten", x), n.weight((10, 8)), n.weight((10,)), transB=1))
    own = "int8" if kind == "uint8" else kind
    made, steps = quantize.quantized(model, n.feeds, own, unsigned=kind == "uint8")
    path = tmp_path / "m.tflite"
    conversion = harness.converted(made, path)
    (name,) = steps
    # 16-bit kernels are exact to a few of their much smaller steps.
    step = steps[name] * (4 if kind == "int16" else 1)
    (got,) = harness.run(path, n.feeds, [name])
    assert near(got, harness.expected(made, n.feeds)[0], step) >= 0.99
    assert harness.computes_in_float(path) == []
    assert conversion.in_float == {}
    assert set(conversion.operators) == {
        "QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_attention(kind, tmp_path):
    n = Network()
    x = n.input("x", 1, 12, 16)

    def heads(order):
        y = n.op("Add", n.op("MatMul", x, n.weight((16, 16))), n.weight((16,)))
        return n.op("Transpose", n.op("Reshape", y, n.weight(np.array([1, 12, 4, 4]))), perm=order)

    scores = n.op("Mul", n.op("MatMul", heads([0, 2, 1, 3]), heads([0, 2, 3, 1])), n.weight(np.float32(0.5)))
    mixed = n.op("MatMul", n.op("Softmax", scores, axis=-1), heads([0, 2, 1, 3]))
    joined = n.op("Reshape", n.op("Transpose", mixed, perm=[0, 2, 1, 3]), n.weight(np.array([1, 12, 16])))
    model = n.model(n.op("Add", n.op("Gelu", n.op("MatMul", joined, n.weight((16, 16)))), x))
    made, steps = quantize.quantized(model, n.feeds, kind)
    path = tmp_path / "m.tflite"
    harness.converted(made, path)
    (name,) = steps
    (got,) = harness.run(path, n.feeds, [name])
    assert near(got, harness.expected(made, n.feeds)[0], steps[name] * (8 if kind == "int16" else 1)) >= 0.99
    assert harness.computes_in_float(path) == ([] if kind == "int8" else ["GELU"])


@pytest.mark.slow
def test_efficientnet_lite0(tmp_path):
    import torch

    example = runpy.run_path(str(EXAMPLES / "efficientnet_lite0.py"))
    network, (images,) = example["model"]()
    program = torch.onnx.export(network, (images[:1],), dynamo=True, verbose=False, optimize=True)
    plain = program.model_proto
    name = plain.graph.input[0].name
    made, steps = quantize.quantized(plain, {name: images[:1].numpy()}, "int8")
    onnx.checker.check_model(made)
    conversion = harness.converted(made, tmp_path / "m.tflite")
    assert harness.computes_in_float(tmp_path / "m.tflite") == []
    assert conversion.operators["PAD"] == 0
    (output,) = steps
    ours, theirs = [], []
    for crop in example["photos"](4, seed=3):
        feeds = {name: crop["inputs"]}
        want, other = harness.expected(made, feeds)[0], as_it_runs(made, feeds)[0]
        (got,) = harness.run(tmp_path / "m.tflite", feeds, [output])
        ours.append(near(got, want, steps[output]))
        theirs.append(near(other, want, steps[output]))
        assert np.abs(got - want).max() <= 6 * steps[output]
    # Single steps add up over 60 layers, in ONNX Runtime's kernels as in LiteRT's.
    assert np.mean(ours) >= np.mean(theirs) - 0.03
