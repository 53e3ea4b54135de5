"""npu:coreml: what is asked of the worker, and every way in which it can let us down, by a worker of the test's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.targets.base import Context, targets
from edgepack.targets.npu import _coreml_graph as graphs
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, ToolchainMissingError
from edgepack.toolchain.report import summary
from tests import isolated
from tests.qnn_models import network
from tests.targets.npu.coreml_worker import VERSION, pretend

CONTEXT = Context(source={}, sizes={}, time_limit_s=60)


@pytest.fixture
def target():
    return targets.get("npu:coreml")()


def test_facts(target, tmp_path: Path) -> None:
    assert (target.runs_here, target.estimated) == (False, False)
    assert "Apple's systems only" in target.unverified
    offers = target.offers(network(tmp_path))
    assert [(offer.precision, offer.quantizer, bool(offer.not_built)) for offer in offers] == [
        ("fp16", "onnx-float16", False),
        ("fp32", None, True),
    ]


def test_a_missing_environment_is_named_with_its_command(target, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ToolchainMissingError, match="edgepack setup npu:coreml"):
        target.compile(network(tmp_path), CONTEXT, tmp_path / "out")


def test_what_is_asked_and_what_ships(target, tmp_path: Path, monkeypatch) -> None:
    asked = tmp_path / "asked.json"
    pretend(
        monkeypatch, tmp_path, f"open({str(asked)!r}, 'w').write(json.dumps(request))\npackage()\ngood()\n"
    )
    out = tmp_path / "out"
    compiled = target.compile(network(tmp_path / "model"), CONTEXT, out)
    graph = json.loads(asked.read_text())["graph"]
    assert [node["op"] for node in graph["nodes"]] == [
        "Conv", "Relu", "Conv", "GlobalAveragePool", "Flatten", "MatMul",
    ]  # fmt: skip
    assert graph["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 16, 16]}]
    assert graph["nodes"][0]["attributes"] == {"pads": [1, 1, 1, 1]}
    assert graph["shapes"]["f"] == [1, 16]
    assert sorted(graph["constants"]) == ["w1", "w2", "w3"]
    assert compiled.files == (
        "main.mlpackage/Data/com.apple.CoreML/model.mlmodel",
        "main.mlpackage/Manifest.json",
    )
    assert compiled.run_file == "main_host-check.onnx"
    assert all((out / name).is_file() for name in (*compiled.files, compiled.run_file))
    assert sorted(path.name for path in out.iterdir()) == ["main.mlpackage", "main_host-check.onnx"]
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (0, 0)
    assert (compiled.estimate, compiled.profile, compiled.tool.version) == (None, None, VERSION)
    assert compiled.notes[0].startswith("not verified: Core ML runs on Apple's systems only")


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        *isolated.FAILURES,
        ("answer({'ok': False, 'error': 'no such pass'})", "does not convert this model: no such pass"),
        ("package(); good(versions={'coremltools': '1.0'})", r"coremltools 1\.0 ran"),
        ("package(); good(versions=None)", "of an unknown version ran"),
        ("good()", "wrote no package"),
        ("package(); good(inputs=['image'])", "the inputs and outputs"),
        ("package(); good(outputs=None)", "the inputs and outputs"),
        ("package(); good(operations={})", "a program without operations"),
        ("package(); good(operations='many')", "a program without operations"),
    ],
)
def test_a_worker_that_lets_us_down(target, worker: str, said: str, tmp_path: Path, monkeypatch) -> None:
    pretend(monkeypatch, tmp_path, worker + "\n")
    context = replace(CONTEXT, time_limit_s=2 if "sleep" in worker else 60)
    out = tmp_path / "out"
    with pytest.raises(ToolchainFailedError, match=said):
        target.compile(network(tmp_path / "model"), context, out)
    assert list(out.iterdir()) == []


def test_an_operator_without_translation_is_named(target, tmp_path: Path, monkeypatch) -> None:
    pretend(monkeypatch, tmp_path, "good(unsupported=[{'node': 'sinh', 'op': 'Sinh'}])\n")
    with pytest.raises(TargetError, match=r"no translation for Sinh: 1 node\(s\), sinh \(Sinh\)"):
        target.compile(network(tmp_path / "model", foreign=True), CONTEXT, tmp_path / "out")


def test_a_node_whose_case_has_no_translation_is_named_with_the_reason(
    target, tmp_path: Path, monkeypatch
) -> None:
    refused = {"node": "conv", "op": "Conv", "why": "a padding of that kind"}
    pretend(monkeypatch, tmp_path, f"good(refused={refused!r})\n")
    with pytest.raises(
        TargetError, match=r"cannot say conv \(Conv\) in Core ML's language: a padding of that kind"
    ):
        target.compile(network(tmp_path / "model"), CONTEXT, tmp_path / "out")


def test_constants_that_do_not_fit_into_32_bits() -> None:
    ends = np.array([np.iinfo(np.int64).max, -5, np.iinfo(np.int64).min])
    assert graphs._fitting(ends, "ends", "t").tolist() == [2**31 - 1, -5, -(2**31)]
    with pytest.raises(TargetError, match="The constant big does not fit into 32 bits"):
        graphs._fitting(np.array([2**40]), "big", "t")


def test_the_report_never_calls_it_verified(target) -> None:
    from edgepack.toolchain.report import cells
    from edgepack.toolchain.results import Parity

    passed = Parity(passed=True, cosine=1.0, unverified=target.unverified)
    for cell in (cells.parity(passed), cells.verdict(passed), summary._gate(passed)):
        assert cell.missing
        assert cell.note.startswith("not verified: ")
    failed = Parity(passed=False, cosine=0.1, failed=["cosine"], unverified=target.unverified)
    assert cells.verdict(failed).text == "failed"
