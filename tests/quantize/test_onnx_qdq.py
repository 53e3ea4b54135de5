"""What ONNX Runtime's quantizer is told: its files run in ONNX Runtime, and give what the float model gives."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_axes import scale_axes
from edgepack.quantize._onnx_qdq import INT8_OPS, insert_pairs
from edgepack.quantize.onnx_static import PRODUCTS

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model(nodes, inputs, outputs, **constants):
    """A graph of `nodes` (type, inputs, output, attributes); shapes are lists of sizes and names."""
    graph = helper.make_graph(
        [
            helper.make_node(op, ins, [out], name=f"{out}:node", **attributes)
            for op, ins, out, attributes in nodes
        ],
        "g",
        [
            helper.make_tensor_value_info(name, INT64 if name == "ids" else FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def run(made, feeds):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, feeds)


def quantized(made, feeds, operators=INT8_OPS, activations="uint8"):
    """With ranges of the feeds; what it gives, what the float model gave, and the model."""
    expected = run(made, feeds)
    watched = onnx.ModelProto.FromString(made.SerializeToString())
    del watched.graph.output[:]
    names = [name for node in made.graph.node for name in node.output]
    watched.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    seen = dict(zip(names, run(watched, feeds), strict=True)) | feeds
    found = {name: (value.min(), value.max()) for name, value in seen.items() if value.dtype == np.float32}
    result = insert_pairs(made, found, activations, operators=operators)
    return run(result, feeds), expected, result


def error(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize(("keys", "sharp"), [(1, 1 / 8), (2, 1 / 8), (9, 1 / 8), (9, 1e-3), (64, 1e-3)])
def test_probabilities_that_fill_the_range(keys, sharp, activations):
    """A single key's, 1, and nearly even ones are what ONNX Runtime's fused int8 Softmax makes 0."""
    made = model(
        [
            ("MatMul", ["q", "k"], "scores", {}),
            ("Softmax", ["scores"], "shares", {"axis": -1}),
            ("MatMul", ["shares", "v"], "y", {}),
        ],
        {"q": ["n", 4, 8], "k": ["n", 8, "keys"], "v": ["n", "keys", 8]},
        ["y"],
    )
    feeds = {"q": normal(5, 4, 8) * np.float32(sharp), "k": normal(5, 8, keys), "v": normal(5, keys, 8)}
    (got,), (expected,), result = quantized(made, feeds, activations=activations)
    assert 0 < error(got, expected) < 0.02
    read = {name for node in result.graph.node for name in node.input}
    assert {one.name for one in result.graph.initializer} <= read, "scales that nobody reads are gone"


@pytest.mark.parametrize("operators", [INT8_OPS, PRODUCTS], ids=["all", "products"])
@pytest.mark.parametrize("shape", [(6,), (6, 5), (3, 6, 5), (2, 3, 6, 5), (1, 1, 6, 5)], ids=str)
def test_constants_of_any_rank(shape, operators):
    made = model([("MatMul", ["x", "w"], "y", {})], {"x": ["n", 3, 4, 6]}, ["y"], w=normal(*shape))
    (got,), (expected,), result = quantized(made, {"x": normal(2, 3, 4, 6)}, operators)
    scales = [list(one.dims) for one in result.graph.initializer if one.name == "w_scale"]
    assert scales == [[5] if len(shape) == 2 else []], "a single matrix has a scale for every output"
    assert 0 < error(got, expected) < 0.02


def test_a_constant_on_the_left_has_one_scale():
    made = model([("MatMul", ["w", "x"], "y", {})], {"x": ["n", 6, 4]}, ["y"], w=normal(5, 6))
    (got,), (expected,), result = quantized(made, {"x": normal(2, 6, 4)})
    assert [list(one.dims) for one in result.graph.initializer if one.name == "w_scale"] == [[]]
    assert 0 < error(got, expected) < 0.02


@pytest.mark.parametrize("operators", [INT8_OPS, PRODUCTS], ids=["all", "products"])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_table_that_is_the_output_layer_as_well(transposed, operators):
    """`table` is looked up along the axis that the product has its outputs on, or its inputs."""
    made = model(
        [
            ("Gather", ["table", "ids"], "x", {"axis": 0}),
            ("Relu", ["x"], "r", {}),
            ("Gemm", ["r", "table"], "y", {"transB": transposed}),
        ],
        {"ids": ["n"]},
        ["y"],
        table=normal(16, 16),
    )
    (got,), (expected,), result = quantized(made, {"ids": np.arange(16)}, operators)
    assert not any(one.name == "table" for one in result.graph.initializer), "both read the int8 table"
    assert 0 < error(got, expected) < 0.03


def test_axes_follow_from_all_readers():
    made = model(
        [
            ("MatMul", ["x", "once"], "a", {}),
            ("MatMul", ["x", "both"], "b", {}),
            ("Gemm", ["x", "both", "bias"], "c", {"transB": 1}),
            ("Gemm", ["x", "turned"], "d", {"transB": 1}),
            ("Gather", ["turned", "ids"], "e", {}),
            ("MatMul", ["x", "vector"], "f", {}),
            ("Add", ["x", "bias"], "g", {}),
            ("MatMul", ["x", "stack"], "h", {}),
        ],
        {"x": ["n", 6], "ids": ["n"]},
        ["a", "b", "c", "d", "e", "f", "g", "h"],
        once=normal(6, 5), both=normal(6, 6), turned=normal(5, 6), vector=normal(6), bias=normal(6),
        stack=normal(2, 6, 5),
    )  # fmt: skip
    without = {"vector": None, "stack": None}
    assert scale_axes(made, INT8_OPS) == {"once": 1, "both": None, "turned": None} | without
    assert scale_axes(made, INT8_OPS, ["e:node", "b:node"]) == {
        "once": 1, "both": 0, "turned": 0,
    } | without  # fmt: skip
    assert scale_axes(made, ("Gather",)) == {}
