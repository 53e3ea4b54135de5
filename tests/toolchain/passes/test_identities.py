from __future__ import annotations

import numpy as np
import pytest

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2

SAME = {
    "identity": "a = Identity(x) y = Relu(a)",
    "cast": "a = Cast<to=1>(x) y = Relu(a)",
    "transpose": "a = Transpose<perm=[0,1]>(x) y = Relu(a)",
    "concat": "a = Concat<axis=0>(x) y = Relu(a)",
    "sum": "a = Sum(x) y = Relu(a)",
    "dropout": "a = Dropout(x) y = Relu(a)",
    "dropout mask unused": "a, m = Dropout(x) y = Relu(a)",
    "reshape": "s = Constant<value_ints=[0,-1]>() a = Reshape(x, s) y = Relu(a)",
    "reshape static": "s = Constant<value_ints=[2,3]>() a = Reshape(x, s) y = Relu(a)",
    "expand": "s = Constant<value_ints=[1]>() a = Expand(x, s) y = Relu(a)",
    "into the output": "a = Relu(x) y = Identity(a)",
}
OTHER = {
    "cast to another type": "a = Cast<to=11>(x) b = Cast<to=1>(a) y = Relu(b)",
    "transpose by default reverses": "a = Transpose(x) b = Transpose(a) y = Relu(b)",
    "dropout in training, drop nothing": """r = Constant<value_float=0.0>() t = Constant<value = bool {1}>()
        a = Dropout(x, r, t) y = Relu(a)""",
    "reshape to another shape": """s = Constant<value_ints=[3,2]>() t = Constant<value_ints=[2,3]>()
        a = Reshape(x, s) b = Reshape(a, t) y = Relu(b)""",
    "expand adds a dimension": """s = Constant<value_ints=[1,1,1]>() z = Constant<value_ints=[0]>()
        a = Expand(x, s) b = Squeeze(a, z) y = Relu(b)""",
    "input straight to output": "y = Identity(x)",
}


@pytest.mark.parametrize("body", SAME.values(), ids=SAME.keys())
def test_removed(graph, apply, ops, body):
    model = graph(f"g (float[2,3] x) => (float[2,3] y) {{ {body} }}")
    assert apply("identities", model, {"x": X}) == 1
    assert [op for op in ops(model) if op != "Constant"] == ["Relu"]


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER.keys())
def test_kept(graph, apply, body):
    model = graph(f"g (float[2,3] x) => (float[2,3] y) {{ {body} }}")
    assert apply("identities", model, {"x": X}) == 0


def test_dropout_mask_that_is_used_keeps_the_node(graph, apply):
    model = graph("g (float[2,3] x) => (float[2,3] y, bool[2,3] m) { a, m = Dropout(x) y = Relu(a) }")
    assert apply("identities", model, {"x": X}) == 0


def test_two_outputs_of_one_value_keep_their_names(graph, apply):
    model = graph("g (float[2,3] x) => (float[2,3] y, float[2,3] z) { y = Relu(x) z = Identity(y) }")
    assert apply("identities", model, {"x": X}) == 0
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


def test_output_that_is_an_initializer_stays(graph, apply):
    model = graph(
        """g (float[2,3] x) => (float[2,3] y, float[3] z) <float[3] w = {1,2,3}> {
        y = Add(x, w) z = Identity(w) }"""
    )
    assert apply("identities", model, {"x": X}) == 0


def test_declared_dimension_names_of_the_output_win(graph, apply):
    model = graph("g (float[N,3] x) => (float[batch,3] y) { a = Relu(x) y = Identity(a) }")
    assert apply("identities", model, {"x": X}) == 1
    assert [str(dim) for dim in model.graph.outputs[0].shape] == ["batch", "3"]


def test_branches_that_hand_on_an_outer_value_stay(graph, apply):
    model = graph("""g (float[2,3] x, bool c) => (float[2,3] y) {
        a = Relu(x)
        y = If (c) <then_branch = t () => (float[2,3] p) { p = Identity(a) },
                    else_branch = e () => (float[2,3] q) { b = Identity(x) q = Neg(b) }>
    }""")
    assert apply("identities", model, {"x": X, "c": np.array(True)}) == 1
    assert apply("identities", model, {"x": X, "c": np.array(False)}) == 0


def test_within_functions(graph, apply):
    model = graph("""<ir_version: 9, opset_import: ["": 18, "local": 1]>
    g (float[2,3] x) => (float[2,3] y) { y = local.f(x) }
    <domain: "local", opset_import: ["": 18]> f (a) => (c) { b = Identity(a) d = Relu(b) c = Identity(d) }""")
    assert apply("identities", model, {"x": X}) == 2


def test_optional_inputs_stay_empty(graph, apply, ops):
    model = graph("""g (float[2,3] x) => (float[2,3] y) <float hi = {1}> {
        a = Identity(x) y = Clip(a, , hi) }""")
    assert apply("identities", model, {"x": X}) == 1
    assert ops(model) == ["Clip"]
    assert model.graph[0].inputs[1] is None
