"""Dynamic int8: what changes in the graph, how close it stays, and what leveling outliers is worth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_channels import factors_of
from edgepack.quantize._onnx_weights import channel_scales, quantized, to_int8
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.onnx_dynamic import OnnxDynamic
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered, Signature
from edgepack.toolchain.results import Calibration

ROWS, WIDTH = 300, 64


def lowered(
    folder: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], opset: int = 20
) -> Lowered:
    """A float model from `ids` [n, s] to `y`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "s"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    folder.mkdir(exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "main.onnx")
    return Lowered("main", "onnx", folder / "main.onnx", Signature((), ()))


def attention_like(folder: Path, opset: int = 20) -> Lowered:
    """Embeddings, three products of one input, and a Gemm with a transposed weight, a factor and a bias."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "table": rng.normal(size=(ROWS, WIDTH)).astype(np.float32),
        **{k: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8 for k in ("wq", "wk", "wv")},
        "wo": rng.normal(size=(80, WIDTH)).astype(np.float32) / 8,
        "bo": rng.normal(size=80).astype(np.float32),
        "flat": np.array([-1, WIDTH], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        *(helper.make_node("MatMul", ["x", f"w{k}"], [k]) for k in "qkv"),
        helper.make_node("Add", ["q", "k"], ["qk"]),
        helper.make_node("Tanh", ["qk"], ["t"]),
        helper.make_node("Mul", ["t", "v"], ["m"]),
        helper.make_node("Reshape", ["m", "flat"], ["r"]),
        helper.make_node("Gemm", ["r", "wo", "bo"], ["y"], transB=1, alpha=0.5),
    ]
    return lowered(folder, nodes, weights, opset)


def calibration(samples: list[Feeds]) -> CalibrationData:
    facts = Calibration(kind="user", description="test", samples=len(samples), held_out=0)
    return CalibrationData(facts, samples, [], "")


def tokens(seed: int, length: int) -> Feeds:
    return {"ids": np.random.default_rng(seed).integers(0, ROWS, (2, length))}


def run(path: Path, feeds: Feeds) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, dict(feeds))[0])


def error(reference: np.ndarray, got: np.ndarray) -> float:
    return float(np.linalg.norm(reference - got) / np.linalg.norm(reference))


def test_products_of_one_input_share_its_quantization(tmp_path):
    base = attention_like(tmp_path / "float")
    made = OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "int8")
    graph = ir.load(made.path).graph
    counts = Counter(node.op_type for node in graph)
    assert counts["MatMulInteger"] == 4
    assert counts["DynamicQuantizeLinear"] == 2
    assert not counts["MatMul"] + counts["Gemm"]
    assert made.changed_nodes == 5
    assert made.precision == "int8-dynamic"
    constants = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    large = [tensor.dtype for tensor in constants if tensor.size > ROWS]
    assert large == [ir.DataType.INT8] * 5
    onnx.checker.check_model(str(made.path), full_check=True)


@pytest.mark.parametrize("embeddings", [True, False])
def test_outputs_stay_close(tmp_path, embeddings):
    base = attention_like(tmp_path / "float")
    data = calibration([tokens(1, 9), tokens(2, 30)])
    made = OnnxDynamic().quantize(base, "int8-dynamic", data, tmp_path / "int8", embeddings=embeddings)
    feeds = tokens(3, 17)
    assert error(run(base.path, feeds), run(made.path, feeds)) < 0.03
    assert made.changed_nodes == 4 + embeddings


def test_leveling_outliers_saves_the_other_channels(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    table[7, 3] = 60  # one channel of one token, as transformers have it
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weight = rng.normal(size=(WIDTH, 80)).astype(np.float32)
    base = lowered(tmp_path / "float", nodes, {"table": table, "w": weight})
    data = calibration([{"ids": np.array([[7, 1, 2]])}, tokens(1, 40)])
    plain = OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "plain", embeddings=False)
    leveled = OnnxDynamic().quantize(base, "int8-dynamic", data, tmp_path / "leveled", embeddings=False)
    assert "outlier channels leveled in 1 of 1 activations" in leveled.notes
    feeds = {"ids": np.array([[9, 7, 11, 13]])}
    others = [0, 2, 3]  # the tokens that pay for the outlier's range
    reference = run(base.path, feeds)[:, others]
    worse, better = (error(reference, run(made.path, feeds)[:, others]) for made in (plain, leveled))
    assert better < 0.6 * worse


def test_a_table_that_is_the_output_layer_too_is_int8_in_both(tmp_path):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "head"], ["y"]),
    ]
    weights = {"table": rng.normal(size=(ROWS, WIDTH)), "w": rng.normal(size=(WIDTH, WIDTH))}
    base = lowered(tmp_path / "float", nodes, {k: v.astype(np.float32) for k, v in weights.items()})
    made = OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "int8")
    assert made.changed_nodes == 3
    assert "table" not in ir.load(made.path).graph.initializers
    feeds = tokens(0, 5)
    assert error(run(base.path, feeds), run(made.path, feeds)) < 0.03


def test_a_table_that_others_compute_with_is_not_looked_up_in_int8(tmp_path):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMean", ["table"], ["mean"], keepdims=0),
        helper.make_node("Add", ["h", "mean"], ["y"]),
    ]
    weights = {"table": rng.normal(size=(ROWS, WIDTH)), "w": rng.normal(size=(WIDTH, WIDTH))}
    base = lowered(tmp_path / "float", nodes, {k: v.astype(np.float32) for k, v in weights.items()})
    made = OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "int8")
    assert made.changed_nodes == 1
    assert ir.load(made.path).graph.initializers["table"].dtype is ir.DataType.FLOAT
    feeds = tokens(0, 5)
    assert error(run(base.path, feeds), run(made.path, feeds)) < 0.03


def test_small_matrices_are_quantized_where_there_is_no_large_one(tmp_path):
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    small = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in ("table", "w")}
    base = lowered(tmp_path / "float", nodes, small)
    assert OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "int8").changed_nodes == 1
    nodes.append(helper.make_node("MatMul", ["x", "large"], ["z"]))
    base = lowered(tmp_path / "both", nodes, small | {"large": np.ones((8, 512), np.float32)})
    made = OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "one")
    assert made.changed_nodes == 1
    assert ir.load(made.path).graph.initializers["w"].dtype is ir.DataType.FLOAT


@pytest.mark.parametrize("side", [1, 3])
def test_nothing_to_quantize_is_an_error(tmp_path, side):
    nodes = [helper.make_node("Gather", ["w", "ids"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    base = lowered(tmp_path / "float", nodes, {"w": np.ones((side, side), np.float32)})
    with pytest.raises(TargetError, match="no matrix product") as caught:
        OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "int8")
    assert caught.value.todo
    assert not (tmp_path / "int8").exists()


def test_an_old_operator_set_is_an_error(tmp_path):
    base = attention_like(tmp_path / "float", opset=10)
    with pytest.raises(TargetError, match="operator set 11"):
        OnnxDynamic().quantize(base, "int8-dynamic", None, tmp_path / "int8")


def test_a_sample_that_does_not_fit_is_an_error(tmp_path):
    base = attention_like(tmp_path / "float")
    with pytest.raises(TargetError, match="calibration sample"):
        OnnxDynamic().quantize(
            base, "int8-dynamic", calibration([{"words": np.zeros((1, 2))}]), tmp_path / "int8"
        )


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_are_within_half_a_step_of_their_channel(axis):
    values = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    values[3] *= 1000
    values[:, 4] = 0
    values[5] = 0
    scales = channel_scales(values, axis)
    assert (scales > 0).all()
    steps = scales.reshape((-1, 1) if axis == 0 else (1, -1))
    assert (np.abs(to_int8(values, scales, axis) * steps - values) <= steps * 0.5001).all()


def test_int8_weights_are_computed_only_when_asked_for():
    calls = []

    def adjust(values: np.ndarray) -> np.ndarray:
        calls.append(values.shape)
        return np.ascontiguousarray(values.T)

    lazy, scales = quantized(ir.tensor(np.eye(3, 5, dtype=np.float32)), 1, adjust, "w")
    assert len(calls) == 1  # for the scales
    assert scales.shape == (3,)
    assert list(lazy.shape.numpy()) == [5, 3]
    np.testing.assert_array_equal(lazy.numpy(), 127 * np.eye(5, 3))
    assert len(calls) == 2


def test_factors_bring_outliers_down_and_leave_the_rest():
    peak = np.linspace(1, 2, 100)
    assert factors_of(peak) is None
    peak[40] = 50
    factors = factors_of(peak)
    assert factors is not None
    assert factors[40] == pytest.approx(50 / np.quantile(peak, 0.97))
    assert (np.delete(factors, 40) < 1.02).all()
    assert factors_of(np.zeros(10)) is None
    assert factors_of(np.array([1, 2, np.inf])) is None
