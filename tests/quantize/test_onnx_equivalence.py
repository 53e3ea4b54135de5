"""Smoothing and equalization leave the float model's answers as they are, and make its int8 form better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_channels import smoothing
from edgepack.quantize._onnx_equalize import equalize, pairs
from edgepack.quantize._onnx_layers import linears
from edgepack.quantize._onnx_scaling import scale_inputs
from edgepack.quantize._onnx_smooth import smooth_model
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.onnx_dynamic import OnnxDynamic
from edgepack.quantize.onnx_static import PRODUCTS, OnnxStatic
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.program import Lowered, Signature
from edgepack.toolchain.results import Calibration

CHANNELS, WIDTH = 16, 80


def store(
    folder: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[object]
) -> Lowered:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    folder.mkdir()
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "main.onnx")
    return Lowered("main", "onnx", folder / "main.onnx", Signature((), ()))


def depthwise(folder: Path, activation: str) -> Lowered:
    """Pointwise, depthwise with two outputs an input, grouped; channels of very different ranges."""
    rng = np.random.default_rng(0)
    spread = 10 ** rng.uniform(-1.5, 1, CHANNELS)
    weights = {
        "w1": rng.normal(size=(CHANNELS, 8, 1, 1)) * spread[:, None, None, None],
        "b1": rng.normal(size=CHANNELS) * spread,
        "w2": rng.normal(size=(2 * CHANNELS, 1, 3, 3)) / np.repeat(spread, 2)[:, None, None, None],
        "b2": rng.normal(size=2 * CHANNELS),
        "w3": rng.normal(size=(12, 16, 1, 1)),
    }
    if activation == "Clip":
        weights |= {"lo": np.float32(0), "hi": np.float32(6)}

    def act(source: str, result: str) -> onnx.NodeProto:
        bounds = ["lo", "hi"] if activation == "Clip" else []
        return helper.make_node(activation, [source, *bounds], [result])

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"]),
        act("c1", "a1"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=CHANNELS),
        act("c2", "a2"),
        helper.make_node("Conv", ["a2", "w3"], ["y"], group=2),
    ]
    return store(folder, nodes, weights, ["n", 8, "h", "w"])


def pre_norm(folder: Path, *, shared: bool = False) -> Lowered:
    """A normalization with loud channels before two products; `shared`: something else reads it too."""
    rng = np.random.default_rng(0)
    loud = np.arange(WIDTH) % 40 == 3
    weights = {
        "gain": np.where(loud, 60, 1),
        "shift": rng.normal(size=WIDTH),
        "wa": rng.normal(size=(WIDTH, WIDTH)) / np.where(loud, 9 * 30, 9)[:, None],
        "wb": rng.normal(size=(64, WIDTH)) / 9,
        "bb": rng.normal(size=64),
    }
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"]),
        helper.make_node("MatMul", ["n", "wa"], ["a"]),
        helper.make_node("Add", ["a", "n"] if shared else ["a", "shift"], ["s"]),
        helper.make_node("Gemm", ["s", "wb", "bb"], ["y"], transB=1, alpha=2.0),
    ]
    return store(folder, nodes, weights, ["n", WIDTH])


def samples(shape: tuple[int, ...], count: int = 12, start: int = 0) -> list[Feeds]:
    return [
        {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}
        for seed in range(start, start + count)
    ]


def calibration(feeds: list[Feeds]) -> CalibrationData:
    return CalibrationData(
        Calibration(kind="user", description="", samples=len(feeds), held_out=0), feeds, [], ""
    )


def run(path: Path, feeds: Feeds) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, dict(feeds))[0])


def error(base: Lowered, path: Path, feeds: list[Feeds]) -> float:
    pairs_ = [(run(base.path, feed), run(path, feed)) for feed in feeds]
    return float(np.mean([np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in pairs_]))


@pytest.mark.parametrize("activation", ["Relu", "Clip", "Identity"])
def test_equalized_convolutions_compute_the_same(tmp_path, activation):
    base = depthwise(tmp_path / "float", activation)
    model = ir.load(base.path)
    before = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    expected = 0 if activation == "Identity" else 2
    assert equalize(model.graph) == expected
    path = save(model, tmp_path / "made", "main")
    assert error(base, path, samples((2, 8, 9, 7))) < 2e-6
    if not expected:
        return
    nodes = [node for node in model.graph if node.op_type == "Conv"]
    weights = [node.inputs[1].const_value.numpy() for node in nodes]
    first, second = np.abs(weights[0]).max(axis=(1, 2, 3)), np.abs(weights[1]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(first, second.reshape(-1, 2).max(axis=1), rtol=0.01)  # equation 10
    original = np.abs(before["w1"]).max(axis=(1, 2, 3))
    assert first.max() / first.min() < 0.3 * original.max() / original.min()


def test_the_bound_of_a_clip_is_reached(tmp_path):
    """Else the test above would say nothing of it."""
    base = depthwise(tmp_path / "float", "Clip")
    model = onnx.load(base.path)
    model.graph.output.append(helper.make_tensor_value_info("a1", TensorProto.FLOAT, None))
    seen = onnxruntime.InferenceSession(model.SerializeToString()).run(["a1"], samples((2, 8, 9, 7))[0])[0]
    assert (seen == 6).mean() > 0.1


def test_a_convolution_that_others_read_is_left_alone(tmp_path):
    base = depthwise(tmp_path / "float", "Relu")
    model = ir.load(base.path)
    first = model.graph[0]
    model.graph.outputs.append(first.outputs[0])
    assert [pair.first.outputs[0].name for pair in pairs(model.graph)] == ["c2"]


@pytest.mark.parametrize(("activation", "share"), [("Relu", 0.2), ("Clip", 0.6)])  # measured 0.06, 0.36
def test_equalizing_makes_int8_better(tmp_path, activation, share):
    base = depthwise(tmp_path / "float", activation)
    data = calibration(samples((1, 8, 12, 12)))
    judged = samples((1, 8, 12, 12), 6, start=50)
    made = {
        on: OnnxStatic().quantize(base, "int8-static", data, tmp_path / str(on), stem=False, equalize=on)
        for on in (False, True)
    }
    assert "2 pairs of convolutions equalized" in made[True].notes
    assert error(base, made[True].path, judged) < share * error(base, made[False].path, judged)


@pytest.mark.parametrize("shared", [False, True])
def test_smoothed_products_compute_the_same(tmp_path, shared):
    base = pre_norm(tmp_path / "float", shared=shared)
    model = ir.load(base.path)
    note = smooth_model(model, base.path, calibration(samples((5, WIDTH))), 0.5, "main")
    assert note == "channels smoothed (exponent 0.5) in 2 of 2 activations"
    path = save(model, tmp_path / "made", "main")
    assert error(base, path, samples((5, WIDTH), 3, start=50)) < 2e-6
    assert sum(node.op_type == "Mul" for node in model.graph) == 1 + shared
    onnx.checker.check_model(str(path), full_check=True)


def test_scaling_says_whether_it_went_into_a_normalization(tmp_path):
    for shared in (False, True):
        graph = ir.load(pre_norm(tmp_path / str(shared), shared=shared).path).graph
        value, group = next(iter(linears(graph).items()))
        assert scale_inputs(graph, value, group, np.full(WIDTH, 2, np.float32)) is not shared


def test_smoothing_is_equation_4():
    rng = np.random.default_rng(0)
    peak = rng.uniform(0.1, 9, 6).astype(np.float32)
    weights = [rng.normal(size=(6, 4)), rng.normal(size=(6, 5))]
    rows = np.maximum(*(np.abs(weight).max(axis=1) for weight in weights))
    np.testing.assert_allclose(smoothing(peak, weights, 0.3), peak**0.3 / rows**0.7, rtol=1e-5)
    peak[2], weights[0][4], weights[1][4] = 0, 0, 0
    silent = smoothing(peak, weights, 0.3)
    assert silent is not None
    assert silent[[2, 4]].tolist() == [1, 1]
    assert smoothing(np.full(6, np.nan), weights, 0.3) is None


@pytest.mark.parametrize("smooth", [0.5, "outliers"])
@pytest.mark.parametrize("quantizer", [OnnxDynamic, OnnxStatic])
def test_smoothing_makes_int8_better(tmp_path, quantizer, smooth):
    base = pre_norm(tmp_path / "float")
    data, judged = calibration(samples((20, WIDTH))), samples((20, WIDTH), 4, start=50)
    options = {"operators": PRODUCTS} if quantizer is OnnxStatic else {}
    given = data if quantizer is OnnxStatic else None  # with data, dynamic int8 levels outliers by itself
    plain = quantizer().quantize(base, "int8", given, tmp_path / "plain", **options)
    made = quantizer().quantize(base, "int8", data, tmp_path / "smooth", smooth=smooth, **options)
    assert any("channels" in note for note in made.notes)
    assert error(base, made.path, judged) < 0.7 * error(base, plain.path, judged)


def test_bad_requests(tmp_path):
    products = pre_norm(tmp_path / "products")
    convolutions = depthwise(tmp_path / "convolutions", "Relu")
    data = calibration(samples((5, WIDTH)))
    with pytest.raises(UsageError, match=r"cannot be 1\.5"):
        OnnxStatic().quantize(products, "int8", data, tmp_path / "made", smooth=1.5)
    with pytest.raises(UsageError, match="Smoothing needs calibration data"):
        OnnxDynamic().quantize(products, "int8", None, tmp_path / "made", smooth=0.5)
    with pytest.raises(TargetError, match="no pair of convolutions"):
        OnnxStatic().quantize(products, "int8", data, tmp_path / "made", equalize=True)
    with pytest.raises(TargetError, match="to smooth"):
        OnnxStatic().quantize(convolutions, "int8", data, tmp_path / "made", smooth=0.5)
    assert not (tmp_path / "made").exists()
