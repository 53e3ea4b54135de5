from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

import edgepack.toolchain.passes as package
from edgepack.toolchain import locate, parity
from edgepack.toolchain.errors import EdgepackError, GateError, UnknownNameError
from edgepack.toolchain.passes.base import LAST, ORDER, in_order, passes
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import save

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2}

MESSY = """<ir_version: 9, opset_import: ["": 18, "local": 1]>
g (float[batch,3] x) => (float[batch,3] y)
<float[3] w = {1,2,3}, float[3] v = {1,2,3}, float[3] u = {4,5,6}> {
    k = Constant<value_ints=[3]>() n = Constant<value_ints=[-1]>() s = Concat<axis=0>(n, k)
    a = Identity(x) b = Add(a, w) c = Add(x, v) d = Mul(b, c) e = Reshape(d, s) f = Exp(e)
    h = Sqrt(w) y = Add(e, h) }
<domain: "local", opset_import: ["": 18]> f (a) => (b) { b = Neg(a) }"""


@pytest.fixture
def breaker():
    """A pass that swaps the inputs of every Sub: legal, and wrong. It is taken back after the test."""

    @passes.register("breaks")
    def breaks(model: ir.Model) -> int:
        nodes = [node for node in model.graph if node.op_type == "Sub" and "broken" not in node.meta]
        for node in nodes:
            left, right = node.inputs
            node.replace_input_with(0, right)
            node.replace_input_with(1, left)
            node.meta["broken"] = True
        return len(nodes)

    yield "breaks"
    del passes._members["breaks"]


def test_all_passes_together_until_nothing_changes(graph, run, ops):
    model = graph(MESSY)
    expected = run(model, X)
    counts = clean_up(model)
    assert ops(model) == ["Add", "Mul", "Add"] or ops(model) == ["Add", "Mul", "Reshape", "Add"]
    assert counts["identities"] >= 1
    assert counts["duplicate-initializers"] == 1
    assert counts["common-subexpressions"] == 1
    assert counts["constants"] >= 2
    assert counts["dead-code"] >= 4
    np.testing.assert_array_equal(run(model, X)[0], expected[0])
    assert [str(dim) for dim in (*model.graph.inputs[0].shape, *model.graph.outputs[0].shape)] == [
        "batch",
        "3",
    ] * 2
    assert set(clean_up(model).values()) == {0}


def test_every_pass_is_documented_in_the_order():
    assert in_order() == [*ORDER, *LAST]
    documentation = importlib.import_module("edgepack.toolchain.passes.base").__doc__ or ""
    for name in passes.names():
        assert f"`{name}`" in documentation
        module = passes.get(name).__module__
        assert (importlib.import_module(module).__doc__ or "").startswith(f"`{name}`")


def test_passes_of_others_run_before_the_last(breaker):
    assert in_order().index(breaker) == len(ORDER)


def test_importing_all_passes_imports_nothing_heavy():
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    code = "import sys, " + ", ".join(f"edgepack.toolchain.passes.{name}" for name in names)
    code += (
        "; print([m for m in ('numpy', 'onnx', 'onnx_ir', 'onnxscript', 'onnxruntime') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_unknown_pass(graph):
    with pytest.raises(UnknownNameError, match="Did you mean 'dead-code'"):
        clean_up(graph(MESSY), ["deadcode"])


def test_a_pass_that_raises_is_named(graph, monkeypatch):
    monkeypatch.setitem(passes._members, "identities", lambda _: 1 // 0)
    with pytest.raises(EdgepackError, match="The pass 'identities' failed: ZeroDivisionError"):
        clean_up(graph(MESSY))


def test_a_pass_that_renames_an_output_is_named(graph, monkeypatch):
    def renames(model: ir.Model) -> int:
        model.graph.outputs[0].name = "z"
        return 1

    monkeypatch.setitem(passes._members, "identities", renames)
    with pytest.raises(
        EdgepackError, match=r"'identities' changed the model's outputs from \['y'\] to \['z'\]"
    ):
        clean_up(graph(MESSY))


def test_a_pass_that_fixes_a_dimension_is_undone(graph, monkeypatch):
    def fixes(model: ir.Model) -> int:
        model.graph.inputs[0].shape = ir.Shape([2, 3])
        return 0

    monkeypatch.setitem(passes._members, "identities", fixes)
    model = graph(MESSY)
    clean_up(model)
    assert model.graph.inputs[0].shape[0] == "batch"


def test_a_pass_that_never_rests_is_stopped(graph, monkeypatch):
    monkeypatch.setitem(passes._members, "identities", lambda _: 1)
    counts = clean_up(graph(MESSY), ["constant-nodes", "identities", "dead-code"])
    assert 0 < counts["identities"] < 20


def test_a_pass_that_breaks_the_graph_is_named_with_the_first_wrong_tensor(graph, breaker, tmp_path):
    text = """g (float[batch,3] x) => (float[batch,3] y) <float[3] w = {1,2,3}> {
        a = Add(x, w) a2 = Identity(a) b = Sub(a2, w) c = Tanh(b) d = Mul(c, a) y = Identity(d) }"""
    reference = save(graph(text), tmp_path, "reference")

    def tensors(path, inputs, names):
        model = ir.load(path)
        values = {value.name: value for node in model.graph for value in node.outputs}
        model.graph.outputs.clear()
        model.graph.outputs.extend(values[name] for name in names)
        session = ort.InferenceSession(ir.serde.serialize_model(model).SerializeToString())
        return dict(zip(names, session.run(names, inputs), strict=True))

    expected = [tensors(reference, X, ["y"])]

    def check(name: str, model: ir.Model) -> None:
        path = save(model, tmp_path, name)
        verdict = parity.compare(expected, [tensors(path, X, ["y"])])
        if not verdict.passed:
            found = locate.between(reference, path, X, tensors)
            raise GateError(f"{name}: {verdict.failed[0]}; first wrong: {found.first_wrong}")

    with pytest.raises(GateError, match=r"breaks: y: .*; first wrong: tensor='b' op='Sub'"):
        clean_up(graph(text), after=check)
    # Without it every pass stands the same test.
    assert clean_up(graph(text), [*ORDER, *LAST], after=check)["identities"] == 2
