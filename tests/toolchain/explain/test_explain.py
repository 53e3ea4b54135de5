"""`edgepack explain`: what is found, what it costs, and models that show it and are compiled to prove it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

from edgepack.toolchain import api
from edgepack.toolchain.cli import app
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.explain import shown
from edgepack.toolchain.explain.costs import Costs, left_nodes, problems_of, unnamed
from edgepack.toolchain.explain.cut import around, cut, node_called
from edgepack.toolchain.explain.results import Explanation
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.results import NodeReason, Placement

TEXT = """<ir_version: 9, opset_import: ["": 20]>
g (int64[1,16] ids, float[1,16,32] x) => (float[1,16,32] y) {
  e = Gather(table, ids)
  a = Add(x, e)
  h = MatMul(a, w)
  s = Sin(h)
  m = MatMul(s, w)
  y = Add(m, a)
}"""
TARGET = "npu:ethos-u55-128"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    for name, shape in (("table", (64, 32)), ("w", (32, 32))):
        values = random.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values / 6, name))
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(proto, path)
    return path


def test_nodes_are_found_by_what_converters_call_them(model: Path) -> None:
    graph = ir.load(model)
    for name, op in (
        ("e/embedding_lookup_quantized", "Gather"),
        ("s", "Sin"),
        ("h_dequant", "MatMul"),
        ("y;1", "Add"),
    ):
        node = node_called(graph, name)
        assert node is not None
        assert node.op_type == op
    assert node_called(graph, "unheard of") is None


def test_a_cut_computes_what_the_nodes_did(model: Path) -> None:
    graph = ir.load(model)
    clean_up(graph)  # so that shapes are known
    sine = node_called(graph, "s")
    assert sine is not None
    assert [node.op_type for node in around(sine, before=0, after=0)] == ["Sin"]
    nodes = around(sine, before=1, after=1)
    assert [node.op_type for node in nodes] == ["MatMul", "Sin", "MatMul"]
    small = cut(graph, nodes)
    assert small is not None
    assert ([v.name for v in small.graph.inputs], [v.name for v in small.graph.outputs]) == (["a"], ["m"])
    onnx.checker.check_model(ir.serde.serialize_model(small), full_check=True)
    lookup = node_called(graph, "e")
    assert lookup is not None
    table = cut(graph, [lookup])
    assert table is not None
    assert list(table.graph.initializers["table"].shape or ()) == [
        16,
        32,
    ]  # rows say nothing of where it runs


def test_costs_are_shares() -> None:
    reasons = [
        NodeReason(node="a", op="SIN", reason="Float32 (a) is not (b) had", cure="c"),
        NodeReason(node="b", op="SIN", reason="Float32 (b) is not (b) had", cure="c"),
        NodeReason(node="m", op="BATCH_MATMUL", reason="wide", cure="d"),
    ]
    placement = Placement(accelerator=7, cpu=3, reasons=reasons)
    costs = Costs({"a": 0, "b": 0, "m": 75, "n": 25}, {"a": 10, "b": 10, "m": 20, "n": 60})
    nodes = left_nodes(placement, costs)
    assert [node.node for node in nodes] == ["m", "a", "b"]  # the dearest first
    assert nodes[0].macs_share == 0.75
    wide, sines = problems_of(nodes, 10)
    assert (wide.operators_share, wide.macs_share, wide.bytes_share) == (0.1, 0.75, 0.2)
    assert (sines.nodes, sines.reason, sines.bytes_share) == (["a", "b"], "Float32 is not had", 0.2)
    assert (
        unnamed('unsupported Float32 (x_1) must be one of {"INT8"}')
        == 'unsupported Float32 must be one of {"INT8"}'
    )
    (unknown,) = left_nodes(Placement(accelerator=0, cpu=1, reasons=reasons[:1]), Costs({}, {}))
    assert (unknown.macs, unknown.macs_share) == (None, None)


def test_wrong_requests(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="until a target is named"):
        api.explain(model)
    (tmp_path / "full").write_text("here")
    with pytest.raises(UsageError, match="not empty"):
        api.explain(model, target=TARGET, save=tmp_path)


@pytest.fixture(scope="module")
def explained(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Explanation, Path]:
    save = tmp_path_factory.mktemp("saved") / "problems"
    options = ["--precision", "int16x8-static", "--save", str(save), "--json", "--quiet"]
    done = CliRunner().invoke(app, ["explain", str(model), "--target", TARGET, *options])
    assert done.exit_code == 0, done.output
    return Explanation.model_validate(json.loads(done.stdout)), save


@pytest.mark.slow
def test_what_stays_off_and_why(explained: tuple[Explanation, Path]) -> None:
    found, _ = explained
    (form,) = found.forms
    assert (found.target, form.part, form.precision, form.device) == (
        TARGET,
        "main",
        "int16x8-static",
        "ethos-u55-128",
    )
    assert form.cpu == len(form.left) > 0
    assert form.macs == 2 * 16 * 32 * 32
    by_op = {problem.op: problem for problem in form.problems}
    assert {"GATHER", "SIN"} <= by_op.keys()
    assert (by_op["SIN"].nodes, by_op["SIN"].reason) == (["s"], "Unsupported opType")
    assert all(problem.cure and problem.bytes_share for problem in form.problems)
    assert sum(problem.bytes_share or 0 for problem in form.problems) < 1
    from rich.console import Console

    console = Console(width=160, record=True, file=io.StringIO())
    console.print(shown.terminal(found))
    text = console.export_text()
    assert "1 x SIN: s" in text
    # what a lookup's own part would change was tried, and is shown beneath
    assert form.splits
    (core,) = found.hosted
    assert (core.part, core.precision, core.error, core.splits) == ("core", "int16x8-static", None, False)
    assert "SIN" in {problem.op for problem in core.problems}
    assert "GATHER" not in {problem.op for problem in core.problems}
    assert core.cpu < form.cpu
    assert "With --host lookups" in text
    assert "of the bytes moved" in text


@pytest.mark.slow
def test_every_problem_has_a_small_model_that_shows_it(explained: tuple[Explanation, Path]) -> None:
    found, folder = explained
    (form,) = found.forms
    for problem in form.problems:
        assert problem.smallest is not None, problem
        assert problem.smallest_nodes is not None
        assert problem.smallest_nodes < 6
        onnx.checker.check_model(str(folder / problem.smallest), full_check=True)
    sine = next(problem for problem in form.problems if problem.op == "SIN")
    again = api.explain(folder / str(sine.smallest), target=TARGET, precision="int16x8-static")
    assert ("SIN", sine.reason) in {(one.op, one.reason) for one in again.forms[0].problems}
