"""Attention in pieces: the same floating-point numbers, found where it is and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.results import NodeReason, Placement
from edgepack.toolchain.rewrites import base
from edgepack.toolchain.rewrites.base import Device, Rewrite
from edgepack.toolchain.rewrites.loop import Analysis, improve

TOKENS, WIDTH, HEADS = 24, 32, 4
NARROW = Device(16, wide_products=False)


def attention(*, scale="Mul", mask=True, last=True):
    """x [1, tokens, width] -> multi-head attention with projections, biases, and a mask for every key or every head."""
    rng = np.random.default_rng(5)
    d = WIDTH // HEADS
    constants = {
        "split": np.array([1, TOKENS, HEADS, d]),
        "join": np.array([1, TOKENS, WIDTH]),
        "scale": np.float32(d**-0.5 if scale == "Mul" else d**0.5),
    }
    for name in "qkv":
        constants[f"w{name}"] = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 5
        constants[f"b{name}"] = rng.standard_normal(WIDTH).astype(np.float32)
    nodes = []
    for name in "qkv":
        nodes += [
            helper.make_node("MatMul", ["x", f"w{name}"], [f"{name}0"]),
            helper.make_node("Add", [f"{name}0", f"b{name}"], [f"{name}1"]),
            helper.make_node("Reshape", [f"{name}1", "split"], [f"{name}2"]),
            helper.make_node(
                "Transpose", [f"{name}2"], [name], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
            ),
        ]
    nodes += [
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node(scale, ["scores", "scale"], ["scaled"]),
        helper.make_node("Add", ["mask", "scaled"] if mask else ["scaled", "scaled"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1 if last else 1),
        helper.make_node("MatMul", ["weights", "v"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["back", "join"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])]
    if mask:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, HEADS, TOKENS, TOKENS]))
    graph = helper.make_graph(
        nodes, "attention", inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = ir.serde.deserialize_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    )
    clean_up(model)
    return model


def outputs(model):
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    rng = np.random.default_rng(1)
    session = InferenceSession(proto.SerializeToString())
    feed = {one.name: rng.standard_normal(one.shape).astype(np.float32) for one in session.get_inputs()}
    return session.run(None, feed)[0]


@pytest.mark.parametrize("scale", ["Mul", "Div"])
def test_heads_by_themselves_are_the_same_numbers(scale):
    model = attention(scale=scale)
    expected = outputs(model)
    (applied,) = base.apply(model, ["attention heads"], NARROW)
    assert (applied.name, applied.count) == ("attention heads", 1)
    np.testing.assert_array_equal(outputs(model), expected)
    products = [node for node in model.graph if node.op_type == "MatMul"]
    assert len(products) == 5 * HEADS
    # Taken of the weights, and nowhere sliced: a slice has the scale of what it is cut from. The mask is an input.
    assert sum(node.op_type == "Slice" for node in model.graph) == HEADS
    assert sorted(
        {tuple(node.inputs[1].shape) for node in products if node.inputs[1].const_value is not None}
    ) == [(WIDTH, WIDTH // HEADS)]


@pytest.mark.parametrize(("fast", "pieces"), [(9216, None), (4608, 2), (2304, 4), (100, None), (0, None)])
def test_query_blocks_are_the_same_numbers_and_as_many_as_it_takes(fast, pieces):
    model = attention()  # scores: 4 x 24 x 24 x 2 bytes, twice; for 100 bytes no number of blocks would do
    expected = outputs(model)
    applied = base.apply(model, ["query blocks"], Device(16, fast_bytes=fast))
    np.testing.assert_array_equal(outputs(model), expected)
    assert len(applied) == (pieces is not None)
    assert sum(node.op_type == "Softmax" for node in model.graph) == (pieces or 1)


def test_both_together_are_the_same_numbers():
    model = attention()
    expected = outputs(model)
    device = Device(16, wide_products=False, fast_bytes=1152)
    found = base.apply(model, ["attention heads", "query blocks"], device)
    assert [one.count for one in found] == [1, HEADS]
    np.testing.assert_array_equal(outputs(model), expected)


@pytest.mark.parametrize("options", [{"mask": False}, {"last": False}])
def test_what_only_looks_like_attention_is_left(options):
    model = attention(**options)
    assert base.apply(model, ["attention heads"], NARROW) == []


def rewrite(name, **options):
    return Rewrite(name, "because", lambda _model, _device: 1, **options)


@pytest.mark.parametrize(
    ("left", "estimate", "kept"),
    [(0, 5.0, True), (0, 10.0, False), (0, 12.0, False), (1, 5.0, False), (0, None, False)],
)
def test_a_trial_stays_where_it_saves_time_and_leaves_no_more_off(left, estimate, kept):
    def analyse(names):
        off, time = (left, estimate) if "blocks" in names else (0, 10.0)
        reasons = [NodeReason(node="n", op="X", reason="no", cure="none")] * off
        return Analysis(Placement(accelerator=9, cpu=off, reasons=reasons), {}, time)

    known = [rewrite("blocks", trial=lambda device: device.fast_bytes > 0), rewrite("other")]
    outcome = improve(analyse, Device(8, fast_bytes=1), known)
    assert outcome.names == (("blocks",) if kept else ())
    assert [step.kept for step in outcome.steps] == [True, kept]
    assert len(improve(analyse, Device(8), known).steps) == 1
    assert improve(analyse, Device(8), known, ["other"]).names == ("other",)
