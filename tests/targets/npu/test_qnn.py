"""npu:qnn-htp-*: what is asked of the worker, and every way in which it can let us down, by a worker of the test's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.targets.base import Context, targets
from edgepack.targets.npu.qnn import CHIPS
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, ToolchainMissingError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.vendors import qnn
from tests import isolated
from tests.qnn_models import VERSION, network, pretend

NAMES = [f"npu:qnn-htp-v{chip.arch}" for chip in CHIPS]
CONTEXT = Context(source={}, sizes={}, time_limit_s=60)
WHOLE = "on(('QNN', 'Conv', 'QuantizeLinear', 'MatMul'))"
GOOD = f"context() if request.get('context') else dlc()\nanswer({WHOLE})\n"


@pytest.fixture
def quantized(tmp_path: Path) -> Lowered:
    return replace(network(tmp_path / "model"), precision="int16x8-static")


def test_registered_and_light() -> None:
    isolated.registered_and_light(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_facts(name: str, tmp_path: Path) -> None:
    target = targets.get(name)()
    assert (target.family, target.runs_here, target.estimated, target.float_precision) == (
        "npu",
        *[False] * 3,
    )
    offers = target.offers(network(tmp_path))
    assert [offer.precision for offer in offers] == ["int8-static", "int16x8-static"]
    assert {offer.quantizer for offer in offers} == {"qnn-qdq"}


def test_a_missing_environment_is_named_with_its_command(
    quantized: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "none"))
    target = targets.get("npu:qnn-htp-v75")()
    assert [need.distribution for need in target.missing()] == ["onnxruntime-qnn"]
    with pytest.raises(ToolchainMissingError, match="edgepack setup npu:qnn-htp-v75"):
        target.compile(quantized, CONTEXT, tmp_path / "out")


def test_a_float_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="takes quantized models, and this one is fp32"):
        targets.get("npu:qnn-htp-v75")().compile(network(tmp_path), CONTEXT, tmp_path / "out")


def test_what_is_asked_and_what_ships(
    quantized: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked.jsonl"
    record = f"with open({str(asked)!r}, 'a') as file:\n    file.write(json.dumps(request) + '\\n')\n"
    pretend(monkeypatch, tmp_path, record + GOOD)
    out = tmp_path / "out"
    compiled = targets.get("npu:qnn-htp-v75")().compile(quantized, CONTEXT, out)
    requests = [json.loads(line) for line in asked.read_text().splitlines()]
    # the CPU forbidden first; nothing needs it allowed, but the .dlc, which is not run
    assert [(one["fallback"], bool(one.get("dlc"))) for one in requests] == [(False, False), (True, True)]
    assert {(one["soc_model"], one["htp_arch"]) for one in requests} == {("57", "75")}
    assert compiled.files == tuple(f"main_qnn-htp-v75{end}" for end in (".onnx", "_qnn.bin", ".dlc"))
    assert sorted(path.name for path in out.iterdir()) == sorted(compiled.files)
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (2, 0)
    assert compiled.placement.device == "qnn-htp-v75"
    assert (compiled.estimate, compiled.profile, compiled.tool.version) == (None, None, VERSION)
    assert any("no latency: there is no HTP here" in note for note in compiled.notes)
    facts = qnn.facts_in(out / compiled.run_file)
    assert facts is not None
    assert (facts["soc_model"], facts["htp_arch"], facts["strict"]) == ("57", "75", True)
    assert list(facts["contexts"]) == ["main_qnn-htp-v75_qnn.bin"]


def test_what_the_cpu_keeps_is_told(
    quantized: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(
        monkeypatch,
        tmp_path,
        "if not request['fallback']:\n    answer({'ok': False, 'error': 'fallback is disabled'}); sys.exit()\n"
        "assert request.get('dlc') or request['verbose']\n"
        "log.write_text('Validation FAILED for 1 nodes\\n\\tNode name: Sinh Node index: 1\\n\\tREASON : lacks it\\n')\n"
        "context() if request.get('context') else dlc()\n"
        "answer(on(('QNN', 'Conv'), ('CPUExecutionProvider', 'Sinh')))\n",
    )
    compiled = targets.get("npu:qnn-htp-v75")().compile(quantized, CONTEXT, tmp_path / "out")
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (1, 1)
    assert [(r.node, r.reason) for r in compiled.placement.reasons] == [("Sinh", "lacks it")]
    assert compiled.notes[0].startswith("50.0% of the operators run on the HTP; with the CPU forbidden")
    facts = qnn.facts_in(tmp_path / "out" / compiled.run_file)
    assert facts is not None
    assert facts["strict"] is False


def test_no_dlc_is_told_and_no_reason_to_fail(
    quantized: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, f"if request.get('dlc'): os.abort()\ncontext()\nanswer({WHOLE})\n")
    compiled = targets.get("npu:qnn-htp-v75")().compile(quantized, CONTEXT, tmp_path / "out")
    assert len(compiled.files) == 2
    assert "no .dlc was written" in compiled.notes[-1]


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        *isolated.FAILURES,
        ("answer({'ok': False, 'error': 'graph too large'})", "does not compile this model: graph too large"),
        ("context(); answer(on(('CPUExecutionProvider', 'Conv')))", "put none of 1 nodes on the HTP"),
        (
            "context(); answer(on(('QNN', 'Conv'), ('CPUExecutionProvider', 'Add')))",
            "although that was forbidden",
        ),
        (f"answer({WHOLE} | {{'versions': {{'onnxruntime-qnn': '1.0'}}}})", r"onnxruntime-qnn 1\.0 ran"),
        (f"answer({WHOLE} | {{'versions': None}})", "onnxruntime-qnn of an unknown version ran"),
        (f"answer({WHOLE})", "wrote no context binary"),
        (f"context(b''); answer({WHOLE})", "names no chip instead of SM8650 v75"),
        (f"context(b'soc_type=SM8550;arch=73;'); answer({WHOLE})", "names SM8550 v73 instead of SM8650 v75"),
    ],
)
def test_a_worker_that_lets_us_down(
    worker: str, said: str, quantized: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, worker + "\n")
    context = replace(CONTEXT, time_limit_s=2 if "sleep" in worker else 60)
    out = tmp_path / "out"
    with pytest.raises(ToolchainFailedError, match=said):
        targets.get("npu:qnn-htp-v75")().compile(quantized, context, out)
    assert list(out.iterdir()) == []
