"""Quantized networks as a whole: as near to the graph as written as ONNX Runtime's own integer kernels are."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.targets.mobile._tflite.convert import convert
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


def test_weights_that_come_in_float(tmp_path):
    """Training with quantization leaves float weights in front of QuantizeLinear, one scale an output channel."""
    n = Network()
    x = n.op("Relu", n.conv(n.input("image", 1, 3, 12, 12), 3, 8))
    plain = n.model(n.op("Gemm", n.op("Flatten", x), n.weight((5, 8 * 144)), n.weight((5,)), transB=1))
    made, steps = quantize.quantized(plain, n.feeds, "int8")
    want = harness.expected(made, n.feeds)[0]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    for node in list(made.graph.node):
        raw = weights.get(node.input[0])
        if node.op_type != "DequantizeLinear" or raw is None or raw.dtype != np.int8:
            continue
        scale, (axis,) = weights[node.input[1]], [a.i for a in node.attribute if a.name == "axis"]
        column = scale.reshape([-1 if at == axis else 1 for at in range(raw.ndim)])
        real = f"{node.output[0]}_float"
        made.graph.initializer.append(onnx.numpy_helper.from_array((raw * column).astype(np.float32), real))
        pair = onnx.helper.make_node("QuantizeLinear", [real, *node.input[1:]], [f"{real}_q"], axis=axis)
        made.graph.node.insert(0, pair)
        node.input[0] = f"{real}_q"
    assert sum(node.input[0].endswith("_float") for node in made.graph.node) == 2
    conversion = harness.converted(made, tmp_path / "m.tflite")
    ((name, step),) = steps.items()
    (got,) = harness.run(tmp_path / "m.tflite", n.feeds, [name])
    assert near(got, want, step) == 1.0
    assert harness.computes_in_float(tmp_path / "m.tflite") == []
    assert conversion.operators["QUANTIZE"] == 1  # the image


@pytest.mark.slow
def test_minilm(minilm, sentences, tmp_path):
    """MiniLM as edgepack's own quantizer writes it: integers into products, the stream between them in float."""
    from tokenizers import Tokenizer

    from edgepack.exporters.native.bert import build as bert
    from edgepack.quantize.base import CalibrationData, quantizers
    from edgepack.quantize.onnx_static import PRODUCTS
    from edgepack.toolchain.passes.pinned import pin_sizes
    from edgepack.toolchain.passes.storage import save
    from edgepack.toolchain.program import Lowered, Signature, TensorSpec
    from edgepack.toolchain.results import Calibration

    length, count = 48, 24
    model = bert(minilm, json.loads((minilm / "config.json").read_text()), "sentence-similarity")
    pin_sizes(model, {"batch": 1, "sequence": length})
    inputs = tuple(TensorSpec(value.name, "int64", (1, length)) for value in model.graph.inputs)
    signature = Signature(inputs, (TensorSpec("sentence_embedding", "float32", (1, 384)),))
    lowered = Lowered("main", "onnx", save(model, tmp_path, "minilm"), signature)
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.enable_padding(length=length)
    tokenizer.enable_truncation(length)
    feeds = [
        {"input_ids": np.array([e.ids]), "attention_mask": np.array([e.attention_mask]),
         "token_type_ids": np.array([e.type_ids])}
        for e in tokenizer.encode_batch(sentences[:: len(sentences) // 40][:count])
    ]  # fmt: skip
    facts = Calibration(kind="user", description="test", samples=16, held_out=0)
    quantized = quantizers.get("onnx-static")().quantize(
        lowered, "int8-static", CalibrationData(facts, feeds[:16], [], ""), tmp_path / "q", operators=PRODUCTS,
        smooth="outliers",
    )  # fmt: skip
    convert(ir.load(quantized.path), tmp_path / "m.tflite")
    written = onnxruntime.SessionOptions()
    written.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    as_written = onnxruntime.InferenceSession(quantized.path, written)
    integers = onnxruntime.InferenceSession(quantized.path)
    float32 = onnxruntime.InferenceSession(lowered.path)
    apart, theirs = [], []
    for feed in feeds[16:]:
        want, other, right = (s.run(None, feed)[0] for s in (as_written, integers, float32))
        (got,) = harness.run(tmp_path / "m.tflite", feed, ["sentence_embedding"])
        apart.append(np.abs(got - want).max())
        theirs.append(np.abs(other - want).max())
        assert float((got * right).sum()) > 0.985  # unit vectors
    # Nearer to the graph as written than ONNX Runtime's own integer kernels.
    assert np.mean(apart) <= np.mean(theirs)
