"""`transposed-weights`, `constant-nodes` and `initializer-inputs`: where weights become visible."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.toolchain.passes.weights import nan_or_inf


@pytest.fixture
def weight(rng):
    return rng.standard_normal((96, 128)).astype(np.float32)


def test_transposed_weight_is_computed_only_when_asked_for(graph, apply, ops, weight):
    model = graph("g (float[n,128] x) => (float[n,96] y) { t = Transpose(w) y = MatMul(x, t) }", w=weight)
    assert apply("transposed-weights", model, {"x": np.ones((2, 128), np.float32)}) == 1
    assert ops(model) == ["MatMul"]
    tensor = model.graph.initializers["t"].const_value
    assert isinstance(tensor, ir.LazyTensor)
    np.testing.assert_array_equal(tensor.numpy(), weight.T)


def test_any_order_of_axes(graph, apply, rng):
    weight = rng.standard_normal((8, 40, 64)).astype(np.float32)
    model = graph(
        "g (float[n,64] x) => (float[8,n,40] y) { t = Transpose<perm=[0,2,1]>(w) y = MatMul(x, t) }", w=weight
    )
    assert apply("transposed-weights", model, {"x": rng.standard_normal((3, 64)).astype(np.float32)}) == 1


KEPT = {
    "tied to another use": "t = Transpose(w) a = MatMul(x, t) y = MatMul(a, w)",
    "an output": "t = Transpose(w) z = Identity(t) y = MatMul(x, z)",
    "not a weight": "v = Neg(w) t = Transpose(v) a = MatMul(x, t) y = MatMul(a, w)",
}


@pytest.mark.parametrize("body", KEPT.values(), ids=KEPT.keys())
def test_kept(graph, apply, weight, body):
    extra = ", float[128,96] t" if "Identity" in body else ""
    out = 96 if "Identity" in body else 128
    model = graph(f"g (float[n,128] x) => (float[n,{out}] y{extra}) {{ {body} }}", w=weight)
    assert apply("transposed-weights", model) == 0


def test_small_ones_are_left_to_constant_folding(graph, apply):
    model = graph("""g (float[n,3] x) => (float[n,2] y) <float[2,3] w = {1,2,3,4,5,6}> {
        t = Transpose(w) y = MatMul(x, t) }""")
    assert apply("transposed-weights", model) == 0
    assert apply("constants", model, {"x": np.ones((1, 3), np.float32)}) == 1


def test_nan_in_a_transposed_weight_is_found(graph, apply, weight):
    weight[5, 7] = np.nan
    model = graph("g (float[n,128] x) => (float[n,96] y) { t = Transpose(w) y = MatMul(x, t) }", w=weight)
    apply("transposed-weights", model)
    apply("dead-code", model)
    assert nan_or_inf(model) == ["t"]


def test_constant_nodes_become_initializers(graph, apply, ops):
    model = graph("""g (float[3] x, bool c) => (float[3] y, float[2] z) {
        a = Constant<value = float[3] {1,2,3}>() b = Constant<value_float=2.0>()
        k = Constant<value_ints=[0]>()
        p = Mul(a, b) q = ReduceSum(p, k) r = Add(x, q)
        y = If (c) <then_branch = t () => (float[3] u) {
                        v = Constant<value_floats=[1.0,2.0,3.0]>() u = Add(r, v) },
                    else_branch = e () => (float[3] u) { u = Neg(r) }>
        z = Constant<value_floats=[1.0,2.0]>() }""")
    feeds = {"x": np.ones(3, np.float32), "c": np.array(True)}
    assert apply("constant-nodes", model, feeds) == 4  # z is an output
    assert ops(model) == ["Mul", "ReduceSum", "Add", "If", "Constant"]
    assert sorted(model.graph.initializers) == ["a", "b", "k"]


def test_weights_listed_as_inputs_of_a_legacy_file(graph, apply, run):
    text = """<ir_version: {version}, opset_import: ["": 9]>
    g (float[3] x, float[3] w) => (float[3] y) <float[3] w = {{1,2,3}}> {{ y = Add(x, w) }}"""
    legacy = graph(text.format(version=3))
    x = {"x": np.ones(3, np.float32)}
    before = run(legacy, x)
    assert apply("initializer-inputs", legacy, x) == 1
    assert [value.name for value in legacy.graph.inputs] == ["x"]
    assert legacy.ir_version == 4
    np.testing.assert_array_equal(run(legacy, x)[0], before[0])
    wish = graph(text.format(version=4))
    assert apply("initializer-inputs", wish, x) == 0
    assert [value.name for value in wish.graph.inputs] == ["x", "w"]
