"""A search from the command line to the bundle that its last line builds."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgepack
from edgepack.toolchain.cli import app
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.search.finish import ASSIGN_FILE, PAGE_FILE, RESULTS_FILE
from edgepack.toolchain.search.fronts import dominates
from edgepack.toolchain.search.results import SearchResults
from edgepack.toolchain.search.run import search
from edgepack.toolchain.search.settings import SETTINGS_FILE

pytestmark = pytest.mark.slow
TRIALS = 10


@pytest.fixture(scope="module")
def done(digits, tmp_path_factory) -> tuple[Path, SearchResults]:
    """A small search of both sides by the command line, and its results."""
    folder = tmp_path_factory.mktemp("done") / "search"
    found = CliRunner().invoke(
        app,
        [
            "search", str(digits.model), "--out", str(folder), "--trials", str(TRIALS), "--timing", "0.05",
            "--calibration", str(digits.calibration), "--calibration-samples", "24", "--json", "--quiet",
        ],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return folder, SearchResults.model_validate_json(found.stdout)


def test_results(done, digits):
    folder, results = done
    assert SearchResults.model_validate_json((folder / RESULTS_FILE).read_text()) == results
    assert [(side.side, side.trials) for side in results.sides] == [("search", TRIALS), ("random", TRIALS)]
    assert [len(side.convergence) for side in results.sides] == [TRIALS, TRIALS]
    for side in results.sides:
        assert side.convergence == sorted(side.convergence), "a volume only grows"
        assert side.hypervolume == side.convergence[-1]
        assert 0 < side.hypervolume <= 1
        assert side.seconds > 0
    uniform = [point for point in results.points if point.side == "uniform"]
    assert len(uniform) == 5
    assert uniform[0].forms == {}
    assert uniform[0].measured.loss == pytest.approx(0, abs=1e-9)
    assert uniform[0].measured.size_bytes == results.fp32_bytes
    by_label = {point.label: point for point in results.points}
    passed = [point for point in results.points if point.measured.parity.passed]
    for label in results.front:
        assert not any(dominates(other.values, by_label[label].values) for other in passed)
    assert results.chosen in results.front
    fastest = min(results.confirmed, key=lambda entry: entry.latency)
    assert results.chosen == fastest.label
    assert results.calibration.kind == "user"


def test_predictions_are_kept_apart_from_measurements(done):
    _, results = done
    predicted = [point for point in results.points if point.predicted is not None]
    assert {point.side for point in predicted} == {"search"}, "random proposals are measured unseen"
    checks = {check.quantity: check for check in results.predictors.checks}
    assert checks["size"].pairs == len(predicted)
    assert checks["size"].relative_error < 0.2
    if not predicted:
        assert not results.predictors.used


def test_the_last_line_builds_a_bundle_through_all_gates(digits, done, tmp_path, monkeypatch):
    _, results = done
    # The fastest of so small a model is fp32; the smallest of those that passed is a mixture.
    smallest = min(
        (p for p in results.points if p.forms and p.measured.parity.passed),
        key=lambda p: p.measured.size_bytes,
    )
    nodes = {group.name: group.nodes for group in results.groups}
    assign = {node: form for group, form in smallest.forms.items() for node in nodes[group]}
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"format": 1, "parts": {"main": assign}}))
    monkeypatch.chdir(tmp_path)
    words = shlex.split(results.export_command)
    assert words[:2] == ["edgepack", "export"]
    at = words.index("--precision")
    words[at : at + 2] = ["--precision", "mixed", "--assign", str(path)]
    if "--assign" in words[at + 4 :]:
        again = words.index("--assign", at + 4)
        del words[again : again + 2]
    found = CliRunner().invoke(app, [*words[1:], "--quiet"])
    assert found.exit_code == 0, found.output
    bundle = edgepack.load(tmp_path / "build")
    (artifact,) = bundle.artifacts
    assert artifact.precision == "mixed"
    assert artifact.changed_nodes == len(assign)
    assert artifact.size_bytes == smallest.measured.size_bytes
    assert artifact.parity.cosine == pytest.approx(1 - smallest.measured.loss, abs=1e-7)
    assert artifact.parity.gate == results.gate == {"cosine": 0.99}
    assert edgepack.verify(bundle.path).ok
    assert f"--assign {path}" in bundle.manifest.command


def test_the_command_of_the_chosen_point_names_its_file(done):
    folder, results = done
    point = next(point for point in results.points if point.label == results.chosen)
    if point.forms:
        assert f"--precision mixed --assign {folder / ASSIGN_FILE}" in results.export_command
    else:
        assert "--precision fp32" in results.export_command


def test_a_gate_that_nothing_passes(digits, tmp_path):
    found = CliRunner().invoke(
        app,
        [
            "search", str(digits.model), "--out", str(tmp_path / "s"), "--trials", "1", "--timing", "0.05",
            "--calibration", str(digits.calibration), "--gate", "cosine=1.5",
        ],
    )  # fmt: skip
    assert found.exit_code == 3
    assert "Nothing passed the gate" in found.output
    results = SearchResults.model_validate_json((tmp_path / "s" / RESULTS_FILE).read_text())
    assert (results.chosen, results.export_command, results.better) == (None, None, "unknown")
    assert (tmp_path / "s" / PAGE_FILE).stat().st_size > 1000


def test_a_metric_of_the_users_own(digits, pictures, tmp_path):
    np.savez(tmp_path / "test.npz", x=pictures[0][1500:], y=pictures[1][1500:])
    (tmp_path / "judge.py").write_text(
        "import pathlib\nimport numpy as np\n"
        "with np.load(pathlib.Path(__file__).with_name('test.npz')) as file:\n"
        "    data = dict(file)\n"
        "def accuracy(model):\n"
        "    return float((model({'x': data['x']})['logits'].argmax(1) == data['y']).mean())\n"
    )
    results = search(
        digits.model, out=tmp_path / "s", trials=1, timing_s=0.05, sampler="tpe",
        calibration=str(digits.calibration), metric=f"python:{tmp_path / 'judge.py'}:accuracy",
    )  # fmt: skip
    first = results.points[0].measured.parity.metric
    assert first.value == first.reference == pytest.approx(digits.accuracy)
    for point in results.points:
        metric = point.measured.parity.metric
        assert point.measured.loss == pytest.approx((metric.reference - metric.value) / metric.reference)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"sampler": "cma"}, UnknownNameError, "nsga2"),
        ({"target": "npu:ethos-u55-128"}, UsageError, "runs here"),
        ({"part": "decoder"}, UnknownNameError, "main"),
        ({"resume": True}, UsageError, "no search"),
    ],
)
def test_requests_that_cannot_be_met(digits, tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        search(digits.model, out=tmp_path / "s", trials=1, calibration=str(digits.calibration), **options)
    assert not (tmp_path / "s" / SETTINGS_FILE).exists()


def test_a_folder_with_something_in_it_is_not_taken(done, digits, tmp_path):
    folder, _ = done
    with pytest.raises(UsageError, match="holds a search already"):
        search(digits.model, out=folder)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        search(digits.model, out=tmp_path)


def test_a_search_of_something_that_changed_does_not_go_on(digits, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(digits.model.read_bytes())
    options = {"timing_s": 0.05, "calibration": str(digits.calibration)}
    search(model, out=tmp_path / "s", trials=1, **options)
    from onnx import load, numpy_helper, save

    changed = load(model)
    values = numpy_helper.to_array(changed.graph.initializer[0]) * np.float32(1.5)
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, changed.graph.initializer[0].name))
    save(changed, model)
    with pytest.raises(UsageError, match="has changed since: the model"):
        search(out=tmp_path / "s", resume=True, trials=2)


def test_no_more_candidates_than_there_are(tmp_path, digits):
    from onnx import TensorProto, helper, numpy_helper, save

    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 80])],
        [weight],
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "m.onnx",
    )
    results = search(
        tmp_path / "m.onnx", out=tmp_path / "s", trials=5, timing_s=0.05, calibration=str(digits.calibration)
    )
    assert [side.trials for side in results.sides] == [0, 0], "all five were measured as uniform assignments"
    assert "there are no more" in results.notes[0]


def test_sentence_encoder(minilm, tmp_path):
    results = search(minilm, out=tmp_path / "s", trials=4, timing_s=0.4, calibration_samples=24)
    assert len(results.groups) == 25
    assert [side.trials for side in results.sides] == [4, 4]
    uniform = {point.number: point for point in results.points if point.side == "uniform"}
    dynamic = next(p for p in uniform.values() if set(p.forms.values()) == {"int8-dynamic"})
    assert dynamic.measured.size_bytes < 0.3 * results.fp32_bytes
    assert dynamic.measured.parity.passed
    assert dynamic.measured.latency < 0.8, "int8 products are faster than float ones"
    chosen = next(entry for entry in results.confirmed if entry.label == results.chosen)
    assert chosen.latency < 0.8
    assert "--precision mixed --assign" in results.export_command  # type: ignore[operator]
