from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.passes.base import passes


def dims(value: ir.Value) -> list[int | str | None] | None:
    return None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]


def test_shapes_reach_every_value_and_names_stay(graph, apply, rng):
    model = graph(
        "g (float[batch,seq,8] x) => (float[batch,seq,5] y) { a = MatMul(x, w) y = Relu(a) }",
        w=rng.standard_normal((8, 5)).astype(np.float32),
    )
    assert apply("shapes", model, {"x": np.ones((2, 3, 8), np.float32)}) == 1
    assert dims(model.graph[0].outputs[0]) == ["batch", "seq", 5]
    assert model.graph[0].outputs[0].dtype is ir.DataType.FLOAT
    assert dims(model.graph.outputs[0]) == ["batch", "seq", 5]


def test_signature_is_filled_and_not_renamed(graph, apply):
    model = graph("g (float[2,3] x) => (float[rows,q] y) { a = Relu(x) y = Exp(a) }")
    model.graph.outputs[0].shape = ir.Shape(["rows", None])
    apply("shapes", model, {"x": np.ones((2, 3), np.float32)})
    assert dims(model.graph.outputs[0]) == ["rows", 3]


def test_invented_names_are_not_taken_over(graph, apply):
    model = graph("g (float[n] x) => (int64[1,m] y) { a = NonZero(x) y = Abs(a) }")
    apply("shapes", model, {"x": np.ones(3, np.float32)})
    assert dims(model.graph[0].outputs[0]) == [1, None]


def test_values_within_branches(graph, apply):
    model = graph("""g (float[2,3] x, bool c) => (float[2,3] y) {
        y = If (c) <then_branch = t () => (float[2,3] p) { a = Exp(x) p = Neg(a) },
                    else_branch = e () => (float[2,3] q) { q = Neg(x) }>
    }""")
    assert apply("shapes", model, {"x": np.ones((2, 3), np.float32), "c": np.array(True)}) == 1


def test_weights_are_not_read(graph):
    tensor = ir.ExternalTensor(
        "there-is-no-such-file", 0, 4 << 40, ir.DataType.FLOAT, shape=ir.Shape([1 << 28, 4096]), name="w"
    )
    model = graph(
        "g (float[n,k] x) => (float[n,4096] y) { a = MatMul(x, w) y = Relu(a) }", w=np.ones((1, 4096), "f")
    )
    model.graph.initializers["w"].const_value = tensor
    model.graph.initializers["w"].shape = ir.Shape([1 << 28, 4096])
    assert passes.get("shapes")(model) == 1
    assert dims(model.graph[0].outputs[0]) == ["n", 4096]
    assert model.graph.initializers["w"].const_value is tensor


def test_nothing_open_costs_nothing(graph, monkeypatch):
    model = graph("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    monkeypatch.setattr("onnx.shape_inference.infer_shapes", lambda *_, **__: pytest.fail("was called"))
    assert passes.get("shapes")(model) == 0


def test_contradiction_is_an_error_with_a_name(graph, monkeypatch):
    from onnx import shape_inference

    def refuse(*_, **__):
        raise shape_inference.InferenceError("[ShapeInferenceError] Inferred shape and existing shape differ")

    model = graph("g (float[2] x) => (float[2] y) { a = Relu(x) y = Relu(a) }")
    monkeypatch.setattr(shape_inference, "infer_shapes", refuse)
    with pytest.raises(SourceError, match=r"contradict one another: .*existing shape differ"):
        passes.get("shapes")(model)
