"""`duplicate-initializers` and `common-subexpressions`."""

from __future__ import annotations

import numpy as np
import pytest

X = np.arange(3, dtype=np.float32)


def test_equal_initializers_become_one(graph, apply):
    model = graph("""g (float[3] x) => (float[3] y)
        <float[3] a = {1,2,3}, float[3] b = {1,2,3}, float[3] c = {1,2,4}, float[1,3] d = {1,2,3}> {
        p = Add(x, a) q = Mul(p, b) r = Sub(q, c) s = Add(d, r)
        z = Constant<value_ints=[0]>() y = Squeeze(s, z) }""")
    assert apply("duplicate-initializers", model, {"x": X}) == 1
    assert sorted(model.graph.initializers) == ["a", "c", "d"]


def test_large_initializers_that_differ_in_the_middle(graph, apply, rng):
    a = rng.standard_normal((64, 300)).astype(np.float32)
    b = a.copy()
    b[32, 150] += 1
    model = graph(
        """g (float[3,64] x) => (float[3,300] y) {
        p = MatMul(x, a) q = MatMul(x, b) r = MatMul(x, c) y = Sum(p, q, r) }""",
        a=a, b=b, c=a.copy(),
    )  # fmt: skip
    assert apply("duplicate-initializers", model, {"x": rng.standard_normal((3, 64)).astype(np.float32)}) == 1
    assert sorted(model.graph.initializers) == ["a", "b"]


def test_type_counts_and_minus_zero_is_not_zero(graph, apply):
    model = graph("""g (float[3] x) => (float[3] y, int32[1] i)
        <float[1] a = {0}, int32[1] b = {0}, float[1] c = {-0.0}> {
        p = Add(x, a) i = Neg(b) q = Div(p, c) y = Mul(q, c) }""")
    assert apply("duplicate-initializers", model) == 0


def test_outputs_and_overridable_initializers_stay(graph, apply):
    model = graph("""g (float[3] x, float[3] c) => (float[3] y, float[3] b)
        <float[3] a = {1,2,3}, float[3] b = {1,2,3}, float[3] c = {1,2,3}> {
        p = Add(x, a) q = Add(p, b) y = Add(q, c) }""")
    assert apply("duplicate-initializers", model, {"x": X, "c": X}) == 0


def test_initializers_of_a_branch(graph, apply):
    model = graph("""g (float[3] x, bool k) => (float[3] y) {
        y = If (k) <then_branch = t () => (float[3] p) <float[3] a = {1,2,3}, float[3] b = {1,2,3}> {
                        o = Add(x, a) p = Mul(o, b) },
                    else_branch = e () => (float[3] q) { q = Neg(x) }>
    }""")
    assert apply("duplicate-initializers", model, {"x": X, "k": np.array(True)}) == 1


def test_equal_nodes_become_one(graph, apply, ops):
    model = graph(
        "g (float[3] x) => (float[3] y) { a = Relu(x) b = Relu(x) c = Exp(a) d = Exp(b) y = Add(c, d) }"
    )
    assert apply("common-subexpressions", model, {"x": X}) == 2
    assert ops(model) == ["Relu", "Exp", "Add"]


APART = {
    "attributes": "a = LeakyRelu<alpha=0.1>(x) b = LeakyRelu<alpha=0.2>(x) y = Add(a, b)",
    "order of inputs": "a = Sub(x, w) b = Sub(w, x) y = Max(a, b)",
    "random": "a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b)",
    "bernoulli": "a = Bernoulli(x) b = Bernoulli(x) y = Sub(a, b)",
}


@pytest.mark.parametrize("body", APART.values(), ids=APART.keys())
def test_nodes_that_are_not_the_same(graph, apply, body):
    model = graph(f"g (float[3] x) => (float[3] y) <float[3] w = {{1,2,3}}> {{ {body} }}")
    assert apply("common-subexpressions", model) == 0


def test_outputs_keep_their_nodes(graph, apply):
    model = graph("g (float[3] x) => (float[3] y, float[3] z) { y = Relu(x) z = Relu(x) }")
    assert apply("common-subexpressions", model, {"x": X}) == 0


def test_an_output_that_only_one_of_two_nodes_has(graph, apply):
    model = graph("""g (float[1,1,4] x) => (float[1,1,2] y, int64[1,1,2] j) {
        a = MaxPool<kernel_shape=[2],strides=[2]>(x) b, i = MaxPool<kernel_shape=[2],strides=[2]>(x)
        y = Add(a, b) j = Identity(i) }""")
    assert apply("common-subexpressions", model, {"x": np.ones((1, 1, 4), np.float32)}) == 0


def test_nodes_with_subgraphs_and_nodes_of_other_graphs(graph, apply):
    branch = """If (c) <then_branch = t () => (float[3] p) { p = Exp(x) },
                        else_branch = e () => (float[3] q) { r = Neg(x) s = Neg(x) q = Add(r, s) }>"""
    model = graph(
        f"g (float[3] x, bool c) => (float[3] y) {{ n = Neg(x) a = {branch} b = {branch} y = Sum(a, b, n) }}"
    )
    assert apply("common-subexpressions", model, {"x": X, "c": np.array(False)}) == 2
    assert len(model.graph) == 4
