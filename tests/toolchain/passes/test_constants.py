from __future__ import annotations

import numpy as np
import pytest

from edgepack.toolchain.passes.base import FOLD_ELEMENTS
from edgepack.toolchain.passes.clean_up import clean_up

X = np.arange(3, dtype=np.float32)


def test_chain_of_constants(graph, apply, ops):
    model = graph("""g (float[3] x) => (float[3] y) <float[3] w = {1,2,3}> {
        a = Mul(w, w) b = Sqrt(a) y = Add(x, b) }""")
    assert apply("constants", model, {"x": X}) >= 2
    assert ops(model) == ["Add"]


def test_shape_of_static_dimensions(graph, apply, ops):
    model = graph("""g (float[3] x) => (float[1,3] y) {
        s = Shape(x) one = Constant<value_ints=[1]>() t = Concat<axis=0>(one, s) y = Reshape(x, t) }""")
    assert apply("constants", model, {"x": X}) >= 1
    assert "Shape" not in ops(model)


def test_shape_of_a_named_dimension_stays(graph, apply, ops):
    model = graph("g (float[N] x) => (int64[1] y) { y = Shape(x) }")
    assert apply("constants", model, {"x": X}) == 0
    assert ops(model) == ["Shape"]


BIG = {
    "constant of shape": "s = Constant<value_ints=[100000,100000]>() b = ConstantOfShape(s)",
    "expand": "s = Constant<value_ints=[100000,100000]>() o = Constant<value_float=1.0>() b = Expand(o, s)",
    "outer product": "b = Mul(col, row)",
    "range": """z = Constant<value_float=0.0>() e = Constant<value_float=1e9>() o = Constant<value_float=1.0>()
        b = Range(z, e, o)""",
    "of unknown size": "b = Unique(col)",
}


@pytest.mark.parametrize("body", BIG.values(), ids=BIG.keys())
def test_nothing_large_is_computed(graph, apply, body):
    # Ten thousand million elements: were it computed, this test would not survive it.
    model = graph(
        f"""g (float[3] x) => (float y) {{
        {body} m = ReduceMax<keepdims=0>(b) n = ReduceMax<keepdims=0>(x) y = Add(n, m) }}""",
        col=np.ones((FOLD_ELEMENTS, 1), np.float32),
        row=np.ones((1, FOLD_ELEMENTS), np.float32),
    )
    nodes = len(model.graph)
    apply("constants", model)
    assert len(model.graph) == nodes


def test_random_numbers_are_not_constants(graph, apply):
    model = graph(
        """g (float[3] x) => (float[3] y) {
        r = RandomNormal<shape=[3]>() b = Bernoulli(p) a = Add(r, b) y = Add(x, a) }""",
        p=np.full(3, 0.5, np.float32),
    )
    assert apply("constants", model) == 0


def test_initializer_that_callers_may_override(graph, apply):
    model = graph("""g (float[3] x, float[3] w) => (float[3] y) <float[3] w = {1,2,3}> {
        a = Mul(w, w) y = Add(x, a) }""")
    assert apply("constants", model, {"x": X}) == 0
    assert apply("constants", model, {"x": X, "w": X}) == 0


def test_quantization_stays_visible(graph, apply, ops):
    model = graph("""g (float[3] x) => (float[3] y) <float s = {0.1}, int8 z = {0}, int8[3] q = {1,2,3}> {
        w = DequantizeLinear(q, s, z) y = Add(x, w) }""")
    assert apply("constants", model, {"x": X}) == 0
    assert ops(model) == ["DequantizeLinear", "Add"]


@pytest.mark.parametrize("condition", [0, 1])
def test_known_branch_is_inlined(graph, apply, ops, condition):
    model = graph(f"""g (float[3] x) => (float[3] y) <bool c = {{{condition}}}> {{
        a = Relu(x)
        y = If (c) <then_branch = t () => (float[3] p) <float[3] w = {{1,2,3}}> {{ p = Add(a, w) }},
                    else_branch = e () => (float[3] q) <float[3] w = {{4,5,6}}> {{ q = Mul(a, w) }}>
    }}""")
    assert apply("constants", model, {"x": X}) == 2  # the If, and what the other branch held
    assert ops(model) == ["Relu", "Add" if condition else "Mul"]


def test_inlined_branch_whose_names_exist_outside(graph, apply):
    model = graph("""g (float[3] x) => (float[3] z) <bool c = {1}, bool d = {0}, float[3] w = {1,2,3}> {
        y = If (c) <then_branch = t () => (float[3] p) <float[3] v = {7,8,9}> { a = Add(x, v) p = Mul(a, w) },
                    else_branch = e () => (float[3] q) { q = Neg(x) }>
        u = If (d) <then_branch = t () => (float[3] p) { p = Neg(x) },
                    else_branch = e () => (float[3] q) <float[3] v = {4,5,6}> { a = Sub(x, v) q = Mul(a, w) }>
        z = Add(y, u) }""")
    assert apply("constants", model, {"x": X}) == 4


def test_inlined_branch_that_is_a_weight(graph, apply):
    model = graph("""g (float[3] x) => (float[3] z) <bool c = {1}> {
        y = If (c) <then_branch = t () => (float[3] p) <float[3] v = {7,8,9}> { p = Identity(v) },
                    else_branch = e () => (float[3] q) { q = Neg(x) }>
        z = Add(x, y) }""")
    assert apply("constants", model, {"x": X}) >= 2


def test_constants_within_a_branch(graph, apply):
    model = graph("""g (float[3] x, bool c) => (float[3] y) <float[3] w = {1,2,3}> {
        y = If (c) <then_branch = t () => (float[3] p) { v = Mul(w, w) p = Add(x, v) },
                    else_branch = e () => (float[3] q) { q = Neg(x) }>
    }""")
    assert apply("constants", model, {"x": X, "c": np.array(True)}) == 1


def test_loop_body_that_depends_on_its_state(graph, apply):
    model = graph("""g (float[3] x, int64 n) => (float[3] y) <bool go = {1}, float[3] w = {1,2,3}> {
        y = Loop (n, go, x) <body = b (int64 i, bool k, float[3] s) => (bool k2, float[3] s2) {
            v = Mul(w, w) s2 = Add(s, v) k2 = Identity(k) }>
    }""")
    assert apply("constants", model, {"x": X, "n": np.array(3)}) == 1


def test_function_of_another_operator_set_is_left_alone(graph, apply):
    body = """<domain: "local", opset_import: ["": {version}]> f (a) => (d) {{
        b = Constant<value_ints=[-3]>() c = Abs(b) d = Expand(a, c) }}"""
    text = """<ir_version: 9, opset_import: ["": 18, "local": 1]>
    g (float[3] x) => (float[3] y) {{ y = local.f(x) }} """
    assert apply("constants", graph((text + body).format(version=18)), {"x": X}) >= 1
    assert apply("constants", graph((text + body).format(version=13))) == 0


def test_strings_are_not_folded(graph, apply):
    model = graph("g (float[3] x) => (float[3] y, string[2] s) { y = Relu(x) s = Identity(names) }",
                  names=np.array(["a", "b"], object))  # fmt: skip
    assert apply("constants", model, {"x": X}) == 0


def test_no_traces_are_left_in_the_file(graph, apply):
    model = graph("g (float[3] x) => (float[3] y) <float[3] w = {1,2,3}> { a = Mul(w, w) y = Add(x, a) }")
    apply("constants", model, {"x": X})
    assert not any(value.metadata_props for value in model.graph.initializers.values())


def test_a_range_whose_limit_becomes_a_constant_of_one_element(graph, run):
    # Computed, runtimes take [1] for the scalar that Range wants; as a constant they refuse the model.
    # onnx's own test_affine_grid_2d_expanded is such a graph.
    model = graph("""g (float[3] x, int64[4] s) => (float[N] y)
        <int64 zero = {0}, int64 one = {1}, int64[1] three = {3}, int64 four = {4}> {
        n = Size(s) c = Equal(n, four)
        limit = If(c) <then_branch = t () => (int64[1] u) { u = Identity(three) },
                       else_branch = e () => (int64[1] v) { v = Slice(s, three, four) }>
        r = Range(zero, limit, one) f = Cast<to = 1>(r) y = Add(x, f) }""")
    feeds = {"x": X, "s": np.arange(4)}
    (expected,) = run(model, feeds)
    counts = clean_up(model, ["constant-nodes", "constants"])
    assert counts["constants"] >= 1
    assert "If" not in [node.op_type for node in model.graph]
    np.testing.assert_array_equal(run(model, feeds)[0], expected)
