"""Reciprocals become quotients and sums with oneself products, and compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgepack.targets.npu._rknn_forms import known_forms

FLOAT = onnx.TensorProto.FLOAT
SHAPE = (1, 4, 8)


def model(*nodes: onnx.NodeProto) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", FLOAT, SHAPE)],
        [
            numpy_helper.from_array(np.float32(2), "two"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.float32(1e-5), "eps"),
            numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32), "weight"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


def run(made: ir.Model) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    found: Any = ReferenceEvaluator(ir.serde.serialize_model(made)).run(None, {"x": x})
    return np.asarray(found[0])


def changed(made: ir.Model) -> list[str]:
    """The operators after it, whose results are those before it."""
    before = run(made)
    known_forms(made)
    onnx.checker.check_model(ir.serde.serialize_model(made), full_check=True)
    assert np.abs(run(made) - before).max() < 1e-6
    return [node.op_type for node in made.graph]


ROOT = (
    helper.make_node("Pow", ["x", "two"], ["square"]),
    helper.make_node("ReduceMean", ["square", "last"], ["mean"]),
    helper.make_node("Add", ["mean", "eps"], ["bounded"]),
    helper.make_node("Sqrt", ["bounded"], ["root"]),
    helper.make_node("Reciprocal", ["root"], ["inverse"]),
)


@pytest.mark.parametrize("factors", [["x", "inverse"], ["inverse", "x"]])
def test_a_root_mean_square_norm(factors: list[str]) -> None:
    made = model(
        *ROOT, helper.make_node("Mul", factors, ["n"]), helper.make_node("Mul", ["n", "weight"], ["y"])
    )
    assert changed(made) == ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]


def test_a_reciprocal_that_something_else_reads_stays() -> None:
    square = helper.make_node("Mul", ["inverse", "inverse"], ["part"])
    made = model(*ROOT, square, helper.make_node("Mul", ["x", "part"], ["y"]))
    assert "Reciprocal" in changed(made)


def test_a_sum_with_itself() -> None:
    made = model(helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Add", ["h", "h"], ["y"]))
    assert changed(made) == ["Relu", "Mul"]
    made = model(helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Add", ["h", "x"], ["y"]))
    assert changed(made) == ["Relu", "Add"]
