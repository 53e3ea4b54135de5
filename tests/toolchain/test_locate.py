from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgepack.toolchain.locate import between, first_below, first_wrong, is_wrong, tensor_error, worst

A = {"a": np.array([1.0, 2.0]), "b": np.array([10.0, 0.0]), "c": np.array([3, 4]), "d": np.zeros(2)}


def first(*args, **kwargs) -> tuple[str, str | None] | None:
    error = first_wrong(*args, **kwargs)
    return None if error is None else (error.tensor, error.op)


def test_first_in_the_order_of_computation():
    got = A | {"b": A["b"] + 0.1, "a": A["a"] + 0.3}
    assert first(A, got, ["b", "a"], 1e-3) == ("b", None)
    assert first(A, got, ["b", "a"], 2e-2) == ("a", None)
    assert first(A, got, ["b", "a"], 2e-2, ops={"a": "Add"}) == ("a", "Add")
    assert first(A, got, ["a", "b"], 0.5) is None
    assert first(A, A, A) is None
    assert first(A, got, ["unknown", "c"]) is None


def test_what_counts_as_wrong():
    assert is_wrong(A["c"], A["c"] + 1)
    assert is_wrong(A["c"], A["c"].astype(float))
    assert is_wrong(A["a"], A["a"][:1])
    assert not is_wrong(A["d"], A["d"] + 1e-7)
    assert is_wrong(A["d"], A["d"] + 1e-3)
    mask = np.array([0.0, -np.inf, np.nan])
    assert not is_wrong(mask, mask.copy())
    assert is_wrong(mask, np.array([np.nan, -np.inf, np.nan]))
    assert is_wrong(mask, np.array([0.0, np.inf, np.nan]))


def test_errors_by_their_formulas():
    error = tensor_error("b", A["b"], A["b"] + np.array([0.3, 0.4]), "Mul")
    assert error.sqnr_db == pytest.approx(10 * math.log10(100 / 0.25))
    assert error.max_abs_error == pytest.approx(0.4)
    assert error.cosine == pytest.approx(10.3 / math.hypot(10.3, 0.4))
    assert tensor_error("b", A["b"], A["b"]).sqnr_db is None
    broken = tensor_error("b", A["b"], np.array([np.nan, 0.0]))
    assert (broken.sqnr_db, broken.cosine, broken.max_abs_error) == (None, None, None)


def test_worst_by_ratio_and_the_unmeasurable_first():
    got = {"a": A["a"] * 1.5, "b": A["b"] * 1.01, "c": A["c"][:1], "d": A["d"] + 1.0}
    assert [error.tensor for error in worst(A, got)] == ["c", "d", "a", "b"]
    assert [error.tensor for error in worst(A, got, count=2)] == ["c", "d"]
    assert worst(A, A) == []


class Runner:
    """Stands in for the session that gives intermediate tensors; remembers how many were asked for."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, path, inputs, names):
        self.calls.append(len(names))
        model = onnx.load(path)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = ort.InferenceSession(model.SerializeToString())
        return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))


def write(path, body):
    text = (
        '<ir_version: 9, opset_import: ["": 18]> g (float[n,3] x) => (float[n,3] y) <float[3] w = {1,2,3}> {'
    )
    onnx.save(onnx.parser.parse_model(text + body + "}"), path)
    return path


def test_between_two_graphs(tmp_path):
    right = write(tmp_path / "a.onnx", "a = Add(x, w) b = Tanh(a) c = Mul(b, w) y = Relu(c)")
    wrong = write(tmp_path / "b.onnx", "a = Add(x, w) q = Neg(a) b = Sigmoid(a) c = Mul(b, w) y = Relu(c)")
    feeds = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    run = Runner()
    found = between(right, wrong, feeds, run)
    assert found.first_wrong is not None
    assert (found.first_wrong.tensor, found.first_wrong.op) == ("b", "Sigmoid")
    assert found.compared == 4  # q has no counterpart
    assert {error.tensor for error in found.worst} == {"b", "c", "y"}
    ratios = [error.sqnr_db or 0.0 for error in found.worst]
    assert ratios == sorted(ratios)
    same = between(right, right, feeds, run)
    assert (same.first_wrong, same.worst, same.compared) == (None, [], 4)
    run.calls.clear()
    assert between(right, wrong, feeds, run, batch=1).first_wrong == found.first_wrong
    assert run.calls == [1] * 8


def test_the_first_tensor_below_a_cosine_is_named_in_graph_order():
    right = {name: np.arange(1.0, 5.0) for name in "abc"}
    near = right["a"] + 0.01
    assert first_below(right, {"a": near, "b": near, "c": near}, 0.99) is None
    assert first_below(right, {"a": near, "b": near[::-1], "c": -near}, 0.99) == "b"
    # Tensors that only the quantized graph has are nobody's to judge.
    assert first_below(right, {"new": -near, "c": -near}, 0.99) == "c"
