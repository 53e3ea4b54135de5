"""Models and samples that cannot be quantized are refused in words; those that look odd and can be, are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_ranges import RANGES
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.onnx_dynamic import OnnxDynamic
from edgepack.quantize.onnx_static import OnnxStatic
from edgepack.quantize.onnx_weights import OnnxWeights
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Signature
from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.results import Calibration

WIDTH = 80


def store(
    folder: Path, nodes: list[onnx.NodeProto], dtype: int = TensorProto.FLOAT, opset: int = 20
) -> Lowered:
    """A model from x [n, 80] to y."""
    weight = np.rint(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)) * 30).clip(-127, 127)
    weight[0] = 127  # so that int8 holds it exactly
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, ["n", WIDTH])],
        [helper.make_tensor_value_info("y", dtype, ["n", WIDTH])],
        [numpy_helper.from_array((weight / 400).astype(np.float32), "w")],
    )
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "main.onnx")
    return Lowered("main", "onnx", folder / "main.onnx", Signature((), ()))


def product(folder: Path, opset: int = 20) -> Lowered:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    return store(folder, nodes, opset=opset)


def calibration(feeds: list[Feeds]) -> CalibrationData:
    facts = Calibration(kind="user", description="", samples=len(feeds), held_out=0)
    return CalibrationData(facts, feeds, [], "")


def noise(count: int = 4) -> list[Feeds]:
    return [
        {"x": np.random.default_rng(seed).normal(size=(6, WIDTH)).astype(np.float32)} for seed in range(count)
    ]


def run(path: Path, feeds: Feeds) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, dict(feeds))[0])


QUANTIZERS = pytest.mark.parametrize("quantizer", [OnnxDynamic, OnnxStatic, OnnxWeights])


@QUANTIZERS
@pytest.mark.parametrize(
    ("first", "operator"),
    [
        (OnnxDynamic, "DynamicQuantizeLinear"),
        (OnnxStatic, "DequantizeLinear"),
        (OnnxWeights, "1 MatMulNBits"),
    ],
)
def test_a_quantized_model_is_not_quantized_again(tmp_path, quantizer, first, operator):
    data = calibration(noise())
    made = first().quantize(product(tmp_path / "float"), "int8", data, tmp_path / "once")
    with pytest.raises(TargetError, match=operator) as caught:
        quantizer().quantize(made, "int8", data, tmp_path / "twice")
    assert caught.value.todo
    assert not (tmp_path / "twice").exists()


def test_what_is_found_is_counted_in_subgraphs_too(tmp_path):
    assert already_quantized(onnx.load(product(tmp_path / "float").path)) is None
    body = helper.make_graph(
        [helper.make_node("QLinearAdd", ["a"] * 6, ["b"], domain="com.microsoft")],
        "body",
        [],
        [helper.make_tensor_value_info("b", TensorProto.UINT8, None)],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)], "g", [], []
    )
    model = helper.make_model(graph)
    assert already_quantized(model) == "2 QLinearAdd"
    assert already_quantized(ir.serde.deserialize_model(model)) == "2 QLinearAdd"


@QUANTIZERS
def test_a_model_of_integers_is_refused(tmp_path, quantizer):
    base = store(tmp_path / "int", [helper.make_node("Add", ["x", "x"], ["y"])], TensorProto.INT64)
    data = calibration([{"x": np.zeros((2, WIDTH), np.int64)}])
    with pytest.raises(TargetError, match="float32") as caught:
        quantizer().quantize(base, "int8", data, tmp_path / "made")
    assert caught.value.todo


@QUANTIZERS
def test_a_model_with_nothing_to_quantize_is_refused(tmp_path, quantizer):
    base = store(tmp_path / "float", [helper.make_node("Sin", ["x"], ["y"])])
    with pytest.raises(TargetError, match=r"changed no node|no matrix product"):
        quantizer().quantize(base, "int8", calibration(noise()), tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("method", RANGES)
@pytest.mark.parametrize("value", [0.0, 0.75])
def test_one_constant_sample_is_enough(tmp_path, method, value):
    base = product(tmp_path / "float")
    data = calibration([{"x": np.full((3, WIDTH), value, np.float32)}])
    made = OnnxStatic().quantize(base, "int8-static", data, tmp_path / "made", ranges=method)
    # x and its Relu are the same everywhere; the product differs from column to column, unless x is zero.
    assert f"{3 if value == 0 else 2} of 3 activations never varied" in made.notes[1]
    got, expected = run(made.path, data.samples[0]), run(base.path, data.samples[0])
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("quantizer", "options"),
    [
        *((OnnxStatic, {"ranges": method}) for method in RANGES),
        (OnnxDynamic, {}),
        (OnnxDynamic, {"smooth": 0.5}),
        (OnnxWeights, {"algorithm": "gptq"}),
        (OnnxWeights, {"algorithm": "awq"}),
    ],
    ids=str,
)
def test_nan_in_a_sample_is_named(tmp_path, quantizer, options):
    feeds = noise()
    feeds[2]["x"][1, 1] = np.nan  # type: ignore[index]
    with pytest.raises(UsageError, match="Sample 2 of the calibration data holds NaN in 'x'"):
        quantizer().quantize(
            product(tmp_path / "float"), "int8", calibration(feeds), tmp_path / "made", **options
        )


@pytest.mark.parametrize("method", RANGES)
def test_infinity_within_the_model_is_named(tmp_path, method):
    base = product(tmp_path / "float")
    feeds = [{"x": np.full((3, WIDTH), np.inf, np.float32)}]
    with pytest.raises(TargetError, match="'x' is not finite"):
        OnnxStatic().quantize(base, "int8-static", calibration(feeds), tmp_path / "made", ranges=method)


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize(
    ("activations", "dtype"), [("int16", TensorProto.INT16), ("uint16", TensorProto.UINT16)]
)
def test_sixteen_bit_activations_run_and_are_closer(tmp_path, activations, dtype, opset):
    base = product(tmp_path / "float", opset)
    data = calibration(noise())
    whole = {"ranges": "min-max"}
    wide = OnnxStatic().quantize(
        base, "int16x8-static", data, tmp_path / "16", activations=activations, **whole
    )
    narrow = OnnxStatic().quantize(base, "int8-static", data, tmp_path / "8", **whole)
    model = onnx.load(wide.path)
    constants = {i.name: i.data_type for i in model.graph.initializer}
    zeros = [constants[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert zeros
    assert set(zeros) == {dtype}
    errors = [
        np.abs(run(made.path, noise()[0]) - run(base.path, noise()[0])).max() for made in (wide, narrow)
    ]
    assert errors[0] < 0.05 * errors[1]


def test_symmetric_activations_have_zero_in_the_middle(tmp_path):
    base, data = product(tmp_path / "float"), calibration(noise())
    for activations, middle in (("int8", 0), ("int16", 0), ("uint8", 128)):
        precision = "int16x8-static" if activations == "int16" else "int8-static"
        made = OnnxStatic().quantize(
            base, precision, data, tmp_path / activations, activations=activations, symmetric=True
        )
        model = onnx.load(made.path)
        constants = {i.name: i for i in model.graph.initializer}
        zeros = [n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear"]
        assert {int(numpy_helper.to_array(constants[name]).item()) for name in zeros} <= {middle, middle - 1}


def test_only_the_operators_asked_for_get_pairs(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "x"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
    ]
    base, data = store(tmp_path / "float", nodes), calibration(noise())
    changed, pairs = [], []
    for operators in (("MatMul",), ("MatMul", "Add")):
        made = OnnxStatic().quantize(base, "int8", data, tmp_path / str(len(operators)), operators=operators)
        changed.append(made.changed_nodes)
        graph = onnx.load(made.path).graph
        pairs.append(sum(node.op_type == "QuantizeLinear" for node in graph.node))
    assert changed == [2, 3]
    assert pairs == [2, 4]  # without Add, products give float results


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"ranges": "max"}, UnknownNameError, "percentile"),
        ({"percent": 0, "ranges": "percentile"}, UsageError, "cannot be 0"),
        ({"activations": "int16"}, UsageError, "--precision int16x8-static"),
        (
            {"precision": "int16x8-static", "ranges": "entropy"},
            UsageError,
            "entropy are for activations of 8",
        ),
        ({"precision": "int16x8-static", "activations": "uint8"}, UsageError, "--precision int8-static"),
        ({"operators": ("MatMul", "Sin")}, UnknownNameError, "Sin"),
    ],
    ids=str,
)
def test_bad_options(tmp_path, options, kind, words):
    asked = {"precision": "int8-static", **options}
    precision, base, data = asked.pop("precision"), product(tmp_path / "float"), calibration(noise())
    with pytest.raises(kind, match=words):
        OnnxStatic().quantize(base, precision, data, tmp_path / "made", **asked)
