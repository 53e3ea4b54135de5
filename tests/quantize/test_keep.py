"""Nodes that stay float: in every quantizer the count of changed nodes falls, and the output comes closer."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain import tflite
from edgepack.toolchain.blame import tflite_noise
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration

WIDTH = 96


@pytest.fixture(scope="module")
def lowered(tmp_path_factory):
    """x -> four products with a Relu between them and a residual sum; "second" has outliers in its weights."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.standard_normal((WIDTH, WIDTH), np.float32) / 10 for i in range(4)}
    weights["w1"][:, 0] *= 40
    weights["w1"][3, :] *= 40
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h0"], name="first"),
        helper.make_node("Relu", ["h0"], ["r0"], name="relu"),
        helper.make_node("MatMul", ["r0", "w1"], ["h1"], name="second"),
        helper.make_node("Tanh", ["h1"], ["t1"]),
        helper.make_node("MatMul", ["t1", "w2"], ["h2"], name="third"),
        helper.make_node("Add", ["h2", "h0"], ["s"], name="sum"),
        helper.make_node("MatMul", ["s", "w3"], ["y"], name="fourth"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("keep") / "main.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    signature = Signature(
        (TensorSpec("x", "float32", ("batch", WIDTH)),), (TensorSpec("y", "float32", ("batch", WIDTH)),)
    )
    return Lowered("main", "onnx", path, signature)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    feeds = [{"x": rng.standard_normal((2, WIDTH), np.float32)} for _ in range(16)]
    facts = Calibration(kind="user", description="noise", samples=8, held_out=8)
    return CalibrationData(facts, feeds[:8], feeds[8:], "noise")


def error(made, lowered, data):
    def outputs(one):
        with sessions.get("onnxruntime")(one.path, one.signature) as session:
            return np.concatenate([session.run(feed)["y"] for feed in data.held_out])

    return float(np.linalg.norm(outputs(made) - outputs(lowered)))


METHODS = [
    ("onnx-dynamic", "int8-dynamic", {}),
    ("onnx-static", "int8-static", {}),
    ("onnx-weights", "int4-weights", {"bits": 4, "algorithm": "rtn"}),
    ("onnx-weights", "int4-weights", {"bits": 4, "algorithm": "awq"}),
    ("onnx-float16", "fp16-weights", {}),
    ("onnx-float16", "fp16", {"compute": "float16"}),
]


@pytest.mark.parametrize(("name", "precision", "options"), METHODS, ids=str)
def test_kept_nodes_are_not_changed_and_add_no_error(lowered, data, tmp_path, name, precision, options):
    def quantized(*keep):
        folder = tmp_path / "-".join(keep or ("none",))
        folder.mkdir()
        quantizer = quantizers.get(name)()
        return quantizer.quantize(lowered, precision, data, folder, keep=keep, **options)

    plain, one = quantized(), quantized("second")
    by_tensor, three = quantized("h1"), quantized("first", "second", "fourth")
    also = name == "onnx-static"  # the Relu before "second": its result is wanted unrounded
    assert one.changed_nodes == by_tensor.changed_nodes == plain.changed_nodes - 1 - also
    assert three.changed_nodes == plain.changed_nodes - 3 - also
    kept = {init.name for init in onnx.load(three.path).graph.initializer if init.data_type == 1}
    # Float32 initializers of a whole matrix: the kept ones, and no others.
    sizes = {init.name: np.prod(init.dims) for init in onnx.load(three.path).graph.initializer}
    assert sum(sizes[name] == WIDTH * WIDTH for name in kept) == 3
    assert error(three, lowered, data) < error(plain, lowered, data)
    assert error(one, lowered, data) == pytest.approx(error(by_tensor, lowered, data))


def test_kept_nodes_of_a_static_file_read_unrounded_values(lowered, data, tmp_path):
    made = quantizers.get("onnx-static")().quantize(
        lowered, "int8-static", data, tmp_path, keep=("second", "sum")
    )
    nodes = {node.name: node for node in onnx.load(made.path).graph.node}
    maker = {name: node.op_type for node in nodes.values() for name in node.output}
    assert [maker.get(nodes[name].input[0]) for name in ("relu", "second", "sum")] == [
        "MatMul",
        "Relu",
        "MatMul",
    ]
    assert maker[nodes["fourth"].input[0]] == "DequantizeLinear"
    read = {name for node in nodes.values() for name in node.input}
    assert all(node.output[0] in read for node in nodes.values() if node.op_type == "QuantizeLinear")


@pytest.mark.parametrize(("name", "precision", "options"), METHODS, ids=str)
def test_an_unknown_node_is_refused_with_near_names(lowered, data, tmp_path, name, precision, options):
    with pytest.raises(UsageError, match=r"no node 'secnod' to keep float.*Did you mean 'second'"):
        quantizers.get(name)().quantize(lowered, precision, data, tmp_path, keep=("secnod",), **options)


def test_keeping_everything_is_an_error(lowered, data, tmp_path):
    every = ("first", "second", "third", "fourth", "sum", "relu")
    for name, precision, options in METHODS[:5]:
        with pytest.raises(TargetError):
            quantizers.get(name)().quantize(lowered, precision, data, tmp_path, keep=every, **options)


@pytest.fixture(scope="module")
def tflite_models(tmp_path_factory):
    script = Path(__file__).parents[1] / "tflite_models.py"
    return runpy.run_path(str(script))["write"](tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    feeds = [{"image": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(16)]
    return CalibrationData(
        Calibration(kind="user", description="noise", samples=8, held_out=8), feeds[:8], feeds[8:], "images"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("options", "dtype"), [({}, "float32"), ({"ends": "int16"}, "int16")], ids=str)
def test_operators_of_a_tflite_file_are_kept(tflite_models, images, tmp_path, options, dtype):
    lowered = tflite_models["cnn"]
    quantizer = quantizers.get("litert-static")()
    names = {one.op: one.name for one in tflite.operators(tflite.read(lowered.path))}
    kept_name = names["DEPTHWISE_CONV_2D"]
    plain = quantizer.quantize(lowered, "int8-static", images, tmp_path / "plain", **options)
    kept = quantizer.quantize(lowered, "int8-static", images, tmp_path / "kept", keep=(kept_name,), **options)
    found = {one.name: one for one in tflite.operators(tflite.read(kept.path))}
    assert found[kept_name].outputs[0].dtype == dtype
    before = {one.name: one for one in tflite.operators(tflite.read(plain.path))}
    assert before[kept_name].outputs[0].dtype == "int8"
    assert kept.changed_nodes == plain.changed_nodes - (dtype == "float32")
    with pytest.raises(UsageError, match="no node 'depthwize' to keep"):
        quantizer.quantize(lowered, "int8-static", images, tmp_path / "no", keep=("depthwize",), **options)


@pytest.mark.slow
def test_noise_of_a_tflite_file_falls_behind_what_is_kept(tflite_models, images, tmp_path):
    lowered = tflite_models["cnn"]
    quantizer = quantizers.get("litert-static")()
    plain = quantizer.quantize(lowered, "int8-static", images, tmp_path / "plain")
    before = {one.node: one for one in tflite_noise.measure(lowered, plain.path, images.held_out, "litert")}
    first = min(before.values(), key=lambda one: one.index)
    assert first.added_db == pytest.approx(first.accumulated_db)
    every = tuple(before)
    kept = quantizer.quantize(lowered, "int8-static", images, tmp_path / "kept", keep=every[:2])
    after = {one.node: one for one in tflite_noise.measure(lowered, kept.path, images.held_out, "litert")}
    assert after[every[1]].accumulated_db is None or (
        after[every[1]].accumulated_db > before[every[1]].accumulated_db + 20  # type: ignore[operator]
    )
    assert after[every[-1]].accumulated_db > before[every[-1]].accumulated_db  # type: ignore[operator]
