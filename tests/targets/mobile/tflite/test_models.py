"""Whole models: MiniLM, EfficientNet-Lite0 and the networks that onnx ships, against ONNX Runtime."""

import runpy
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.exporters.native.bert import build as bert
from edgepack.targets.mobile._tflite.convert import convert
from tests.targets.mobile.tflite import harness

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
EXAMPLES = Path(__file__).parents[4] / "examples"
pytestmark = pytest.mark.slow


def reference(path, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def random_weights(model, rng):
    """Put numbers of their own into the weights, which are all alike in these files."""
    kept = []
    used = {name for node in model.graph.node for name in node.input}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        name = node.output[0]
        shape = [int(n) for n in shapes[node.input[0]]]
        if name not in used:
            continue
        if name in variances:
            array = rng.uniform(0.5, 2.0, shape)
        elif len(shape) == 1:
            array = rng.standard_normal(shape) * 0.5 + 0.5
        else:
            array = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    del model.graph.node[:]
    model.graph.node.extend(kept)


# AlexNet, VGG and ZFNet are the same operators with up to half a gigabyte of weights.
@pytest.mark.parametrize(
    "path",
    [p for p in LIGHT if not {"alexnet", "vgg19", "zfnet512"} & set(p.stem.split("_"))],
    ids=lambda p: p.stem,
)
def test_light_models(path, tmp_path):
    rng = np.random.default_rng(0)
    model = onnx.load(path)
    random_weights(model, rng)
    onnx.save(model, tmp_path / "model.onnx")
    weights = {tensor.name for tensor in model.graph.initializer}
    (value,) = (v for v in model.graph.input if v.name not in weights)
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    feeds = {value.name: rng.standard_normal(shape).astype(np.float32)}
    (want,) = reference(tmp_path / "model.onnx", feeds)
    conversion = convert(ir.load(tmp_path / "model.onnx"), tmp_path / "model.tflite")
    (got,) = harness.run(tmp_path / "model.tflite", feeds, [model.graph.output[0].name])
    assert want.std() > 0
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * float(np.abs(want).max()))
    # The shuffles of ShuffleNet, and nothing that a layout needs.
    assert conversion.operators.get("TRANSPOSE", 0) == sum(n.op_type == "Transpose" for n in model.graph.node)


def test_minilm(minilm, tmp_path):
    import json

    from edgepack.toolchain.passes.storage import save

    model = bert(minilm, json.loads((minilm / "config.json").read_text()), "sentence-similarity")
    path = save(model, tmp_path, "minilm")
    rng = np.random.default_rng(0)
    mask = np.ones((2, 40), np.int64)
    mask[1, 25:] = 0
    feeds = {
        "input_ids": rng.integers(0, 30000, (2, 40)),
        "attention_mask": mask,
        "token_type_ids": np.zeros((2, 40), np.int64),
    }
    (want,) = reference(path, feeds)
    conversion = convert(ir.load(path), tmp_path / "m.tflite", sizes={"batch": 2, "sequence": 40})
    (got,) = harness.run(tmp_path / "m.tflite", feeds, ["sentence_embedding"])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    # A linear layer is one operator with its bias, a GELU one, and attention no more than litert-torch makes of it.
    assert conversion.operators["FULLY_CONNECTED"] == 36
    assert conversion.operators["GELU"] == 6
    assert conversion.operators["BATCH_MATMUL"] == 12
    assert sum(conversion.operators.values()) < 370


def test_efficientnet_lite0(tmp_path):
    import torch

    network, (images,) = runpy.run_path(str(EXAMPLES / "efficientnet_lite0.py"))["model"]()
    program = torch.onnx.export(network, (images[:1],), dynamo=True, verbose=False, optimize=False)
    program.save(tmp_path / "model.onnx")
    feeds = {program.model.graph.inputs[0].name: images[:1].numpy()}
    (want,) = reference(tmp_path / "model.onnx", feeds)
    conversion = convert(ir.load(tmp_path / "model.onnx"), tmp_path / "m.tflite")
    (got,) = harness.run(tmp_path / "m.tflite", feeds, [program.model.graph.outputs[0].name])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert dict(conversion.operators) == {
        "CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1,
    }  # fmt: skip
