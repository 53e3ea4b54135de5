"""Weight-only quantization in ONNX Runtime: what changes, how close it stays, what is refused."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_blocks import Blocks, nearest
from edgepack.quantize._onnx_gram import moments
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.onnx_float16 import OnnxFloat16
from edgepack.quantize.onnx_weights import OnnxWeights
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Signature
from edgepack.toolchain.results import Calibration

ROWS, WIDTH = 300, 80  # not a multiple of the block


def decoder_like(folder: Path, norm: str | None = "LayerNormalization", scale: float = 1.0) -> Lowered:
    """A table, a normalization, two products of its result, and a transposed Gemm with a factor and a bias."""
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.normal(size=(ROWS, WIDTH)) * np.where(np.arange(WIDTH) % 20 == 3, 8, 1),
        "gain": rng.uniform(0.5, 2, WIDTH) * np.where(np.arange(WIDTH) % 20 == 5, 20, 1),
        "shift": rng.normal(size=WIDTH),
        "wq": rng.normal(size=(WIDTH, 96)) / 8,
        "wk": rng.normal(size=(WIDTH, 96)) / 8 * scale,
        "wo": rng.normal(size=(64, 96)) / 8,
        "bo": rng.normal(size=64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node(norm, ["x", "gain", "shift"], ["n"])
        if norm
        else helper.make_node("Mul", ["x", "gain"], ["n"]),
        helper.make_node("MatMul", ["n", "wq"], ["q"]),
        helper.make_node("MatMul", ["n", "wk"], ["k"]),
        helper.make_node("Add", ["q", "k"], ["qk"]),
        helper.make_node("Tanh", ["qk"], ["t"]),
        helper.make_node("Reshape", ["t", "flat"], ["r"]),
        helper.make_node("Gemm", ["r", "wo", "bo"], ["y"], transB=1, alpha=0.5),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([-1, 96]), "flat"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "s"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    folder.mkdir(exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "main.onnx")
    return Lowered("main", "onnx", folder / "main.onnx", Signature((), ()))


def tokens(seed: int, length: int = 12) -> Feeds:
    return {"ids": np.random.default_rng(seed).integers(0, ROWS, (2, length))}


@pytest.fixture
def data() -> CalibrationData:
    facts = Calibration(kind="user", description="", samples=8, held_out=0)
    return CalibrationData(facts, [tokens(i, 8 + i) for i in range(8)], [], "")


def run(path: Path, feeds: Feeds) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, dict(feeds))[0])


def error(base: Lowered, made: Lowered) -> float:
    found = []
    for seed in range(100, 104):
        reference = run(base.path, tokens(seed, 40))
        found.append(np.linalg.norm(run(made.path, tokens(seed, 40)) - reference) / np.linalg.norm(reference))
    return float(np.mean(found))


def test_products_and_lookups_are_replaced_gemm_included(tmp_path):
    base = decoder_like(tmp_path / "float")
    made = OnnxWeights().quantize(base, "int4-weights", None, tmp_path / "int4")
    graph = ir.load(made.path).graph
    counts = Counter(node.op_type for node in graph)
    assert (counts["MatMulNBits"], counts["GatherBlockQuantized"]) == (3, 1)
    assert not counts["MatMul"] + counts["Gemm"] + counts["Gather"]
    assert made.changed_nodes == 4
    assert {"wq", "wk", "wo", "table"}.isdisjoint(graph.initializers)
    assert all(n.attributes.get_int("accuracy_level", 0) == 4 for n in graph if n.op_type == "MatMulNBits")


@pytest.mark.parametrize(
    ("options", "bound"),  # what was measured stands beside it
    [
        ({"bits": 8}, 0.02),  # 0.014
        ({"bits": 8, "symmetric": False, "accuracy_level": 0}, 0.02),  # 0.012
        ({"bits": 8, "algorithm": "gptq", "block": 16}, 0.02),  # 0.011
        ({"bits": 4, "block": 16}, 0.25),  # 0.149
        ({"bits": 4, "symmetric": False}, 0.25),  # 0.171
        ({"bits": 4, "algorithm": "hqq"}, 0.25),  # 0.169
        ({"bits": 4, "algorithm": "gptq"}, 0.25),  # 0.171
        ({"bits": 4, "algorithm": "awq"}, 0.25),  # 0.167
        ({"bits": 4, "block": 128, "embeddings": False}, 0.15),  # 0.098
    ],
    ids=str,
)
def test_outputs_stay_close(tmp_path, data, options, bound):
    base = decoder_like(tmp_path / "float")
    made = OnnxWeights().quantize(base, "weights", data, tmp_path / "made", **options)
    assert made.changed_nodes == 3 + options.get("embeddings", True)
    assert 1e-4 < error(base, made) < bound


@pytest.mark.parametrize("algorithm", ["gptq", "awq"])
def test_inputs_make_four_bits_better(tmp_path, data, algorithm):
    base = decoder_like(tmp_path / "float")
    options = {"embeddings": False, "accuracy_level": 0}
    plain = OnnxWeights().quantize(base, "weights", None, tmp_path / "plain", **options)
    better = OnnxWeights().quantize(base, "weights", data, tmp_path / "made", algorithm=algorithm, **options)
    assert error(base, better) < 0.9 * error(base, plain)


def test_awq_goes_into_a_normalization_that_nothing_else_reads(tmp_path, data):
    folded = OnnxWeights().quantize(
        decoder_like(tmp_path / "a"), "w", data, tmp_path / "made", algorithm="awq"
    )
    assert "1 in normalizations" in folded.notes[1]
    apart = OnnxWeights().quantize(
        decoder_like(tmp_path / "b", norm=None), "w", data, tmp_path / "apart", algorithm="awq"
    )
    assert "0 in normalizations" in apart.notes[1]
    names = Counter(node.op_type for node in ir.load(apart.path).graph)
    assert names["Mul"] > 1


def test_second_moments_are_those_of_all_rows_whatever_the_budget(tmp_path, data):
    base = decoder_like(tmp_path / "float")
    model = onnx.load(base.path)
    model.graph.output.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rows = np.concatenate([session.run(["n"], dict(s))[0].reshape(-1, WIDTH) for s in data.samples])
    for budget in (1, 1 << 30):
        found = dict(moments(base.path, {"n": WIDTH, "r": 96}, data.samples, budget))
        assert list(found) == ["n", "r"]
        np.testing.assert_allclose(found["n"].gram, rows.T @ rows, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found["n"].magnitude, np.abs(rows).sum(axis=0), rtol=1e-4)


def test_weights_are_rounded_once_when_they_are_written(tmp_path, monkeypatch):
    calls: list[int] = []

    def counted(weight: np.ndarray, *args: int, symmetric: bool) -> Blocks:
        calls.append(weight.size)
        return nearest(weight, *args, symmetric=symmetric)

    monkeypatch.setattr("edgepack.quantize._onnx_nbits.nearest", counted)
    OnnxWeights().quantize(
        decoder_like(tmp_path / "float"), "w", None, tmp_path / "made", symmetric=False, block=16
    )
    assert len(calls) <= 8  # small scales lie in the graph file, which is written after all large tensors


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"algorithm": "gtpq"}, UnknownNameError, "gptq"),
        ({"bits": 3}, UsageError, "cannot be 3"),
        ({"block": 24}, UsageError, "power of two"),
        ({"block": 8}, UsageError, "power of two"),
        ({"accuracy_level": 2}, UsageError, "takes 0, 4"),
        ({"algorithm": "hqq", "bits": 8}, UsageError, "4 bits only"),
        ({"algorithm": "gptq"}, UsageError, "needs calibration data"),
    ],
    ids=str,
)
def test_bad_options(tmp_path, options, kind, words):
    with pytest.raises(kind, match=words):
        OnnxWeights().quantize(decoder_like(tmp_path / "float"), "w", None, tmp_path / "made", **options)
    assert not (tmp_path / "made").exists()


def test_two_lookups_in_one_table_share_it(tmp_path):
    base = decoder_like(tmp_path / "float")
    model = onnx.load(base.path)
    model.graph.node.insert(0, helper.make_node("Gather", ["table", "ids"], ["x2"]))
    model.graph.node.insert(2, helper.make_node("Add", ["x", "x2"], ["xx"]))
    model.graph.node[3].input[0] = "xx"
    onnx.save(model, base.path)
    made = OnnxWeights().quantize(base, "w", None, tmp_path / "made", bits=8)
    assert made.changed_nodes == 5
    assert sum("levels" in name for name in ir.load(made.path).graph.initializers) == 4
    assert error(base, made) < 0.02


@pytest.mark.parametrize(("storage", "bound"), [("float16", 5e-4), ("bfloat16", 5e-3)])
def test_sixteen_bit_storage(tmp_path, storage, bound):
    base = decoder_like(tmp_path / "float")
    made = OnnxFloat16().quantize(base, "fp16-weights", None, tmp_path / "made", storage=storage)
    assert made.changed_nodes == 4
    assert 1e-6 < error(base, made) < bound
    assert run(made.path, tokens(0)).dtype == np.float32
    files = [sum(f.stat().st_size for f in m.path.parent.iterdir()) for m in (base, made)]
    assert files[1] < 0.56 * files[0]
    onnx.checker.check_model(str(made.path), full_check=True)


def test_weights_beyond_float16_stay(tmp_path):
    base = decoder_like(tmp_path / "float", scale=1e6)
    made = OnnxFloat16().quantize(base, "fp16-weights", None, tmp_path / "made")
    assert made.changed_nodes == 3
    assert "1 weights beyond" in made.notes[1]
    assert np.isfinite(run(made.path, tokens(0))).all()
    assert OnnxFloat16().quantize(base, "b", None, tmp_path / "b", storage="bfloat16").changed_nodes == 4


def test_the_size_that_a_resize_makes_is_known_in_float16(tmp_path):
    scales = numpy_helper.from_array(np.array([1, 1, 2, 3], np.float32), "scales")
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Resize", ["r", "", "scales"], ["y"])]
    sides = ([1, 2, 4, 4], [1, 2, 8, 12])
    values = [
        helper.make_tensor_value_info(*one) for one in zip("xy", [TensorProto.FLOAT] * 2, sides, strict=True)
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [scales])
    path = tmp_path / "main.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    base = Lowered("main", "onnx", path, Signature((), ()))
    made = OnnxFloat16().quantize(base, "fp16", None, tmp_path / "made", compute="float16")
    model = ir.load(made.path)
    (resize,) = [node for node in model.graph if node.op_type == "Resize"]
    assert resize.inputs[2].const_value.numpy().tolist() == [1, 1, 2, 3]
    assert resize.inputs[2].dtype == ir.DataType.FLOAT


def test_nothing_to_store_in_sixteen_bits(tmp_path):
    base = decoder_like(tmp_path / "float")
    made = OnnxFloat16().quantize(base, "fp16-weights", None, tmp_path / "made")
    with pytest.raises(TargetError, match="no float32 weight"):
        OnnxFloat16().quantize(made, "fp16-weights", None, tmp_path / "again")
    with pytest.raises(UnknownNameError, match="bfloat16"):
        OnnxFloat16().quantize(base, "fp16-weights", None, tmp_path / "again", storage="float8")


@pytest.mark.parametrize(
    ("quantizer", "options"),
    [(OnnxWeights, {"bits": 8}), (OnnxWeights, {"symmetric": False}), (OnnxFloat16, {})],
    ids=str,
)
def test_memory_holds_one_weight_and_not_the_model(tmp_path, quantizer, options):
    side, count = 512, 24
    names = [f"h{index}" for index in range(count)] + ["y"]
    nodes = [helper.make_node("Cast", ["ids"], ["h0"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(count)]
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(side, side)).astype(np.float32) for _ in range(count)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", side])],
        [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "main.onnx", save_as_external_data=True, location="main.onnx.data")
    base = Lowered("main", "onnx", tmp_path / "main.onnx", Signature((), ()))
    quantizer().quantize(base, "w", None, tmp_path / "warm", **options)  # imports are done
    tracemalloc.start()
    try:
        quantizer().quantize(base, "w", None, tmp_path / "made", **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 4 * side * side  # of 24
