from __future__ import annotations

import numpy as np

X = np.arange(3, dtype=np.float32)


def test_nodes_initializers_functions_and_imports(graph, apply, ops):
    model = graph("""<ir_version: 9, opset_import: ["": 18, "local": 1, "com.microsoft": 1]>
    g (float[3] x, float[3] unused) => (float[3] y) <float[3] w = {1,2,3}> {
        a = Add(x, w) b = Exp(a) y = Relu(x) }
    <domain: "local", opset_import: ["": 18]> f (a) => (b) { b = Neg(a) }""")
    # Add, Exp, w, the function with its node and its import, the imports of com.microsoft and local
    assert apply("dead-code", model, {"x": X, "unused": X}) == 8
    assert ops(model) == ["Relu"]
    assert [value.name for value in model.graph.inputs] == ["x", "unused"]
    assert dict(model.opset_imports) == {"": 18}


def test_what_a_branch_uses_stays(graph, apply, ops):
    model = graph("""g (float[3] x, bool c) => (float[3] y) <float[3] w = {1,2,3}> {
        a = Exp(x)
        y = If (c) <then_branch = t () => (float[3] p) { p = Add(a, w) },
                    else_branch = e () => (float[3] q) <float[3] v = {1,2,3}> { r = Add(x, w) q = Neg(x) }>
    }""")
    assert apply("dead-code", model, {"x": X, "c": np.array(True)}) == 2  # r and v of the second branch
    assert ops(model) == ["Exp", "If"]
    assert list(model.graph.initializers) == ["w"]


def test_initializer_that_is_an_output_stays(graph, apply):
    model = graph("g (float[3] x) => (float[3] y, float[3] w) <float[3] w = {1,2,3}> { y = Relu(x) }")
    assert apply("dead-code", model, {"x": X}) == 0


def test_function_that_is_used_by_a_function_stays(graph, apply):
    model = graph("""<ir_version: 9, opset_import: ["": 18, "local": 1]>
    g (float[3] x) => (float[3] y) { y = local.f(x) }
    <domain: "local", opset_import: ["": 18, "local": 1]> f (a) => (b) { b = local.h(a) }
    <domain: "local", opset_import: ["": 18]> h (a) => (b) { u = Exp(a) b = Neg(a) }""")
    assert apply("dead-code", model, {"x": X}) == 1  # u
    assert len(model.functions) == 2


def test_loop_state_that_nobody_reads_stays(graph, apply):
    model = graph("""g (float[3] x, int64 n) => (float[3] y) <bool go = {1}> {
        y, other = Loop (n, go, x, x) <body = b (int64 i, bool k, float[3] s, float[3] t)
            => (bool k2, float[3] s2, float[3] t2) { s2 = Neg(s) t2 = Exp(t) k2 = Identity(k) }>
    }""")
    assert apply("dead-code", model, {"x": X, "n": np.array(3)}) == 0
