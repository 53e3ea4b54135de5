"""npu:k230: what is asked of the worker, and every way in which it can let us down, by a fake worker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.targets.base import Context, targets
from edgepack.toolchain import dotnet
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, ToolchainMissingError
from edgepack.toolchain.vendors import k230
from tests import isolated
from tests.k230_models import VERSION, network, pretend, quantized

CONTEXT = Context(source={}, sizes={}, time_limit_s=60)


def test_registered_and_light() -> None:
    isolated.registered_and_light(["npu:k230"])


def test_facts(tmp_path: Path) -> None:
    target = targets.get("npu:k230")()
    assert (target.family, target.runs_here, target.estimated) == ("npu", False, False)
    offers = {offer.precision: offer.quantizer for offer in target.offers(network(tmp_path))}
    assert offers == {"int8-static": "k230", "int16x8-static": "k230"}


def test_a_missing_environment_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantized(tmp_path / "m")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "none"))
    target = targets.get("npu:k230")()
    assert [need.distribution for need in target.missing()] == ["nncase", "nncase-kpu", "dotnet"]
    with pytest.raises(ToolchainMissingError, match=r"Run: edgepack setup npu:k230\.$"):
        target.compile(model, CONTEXT, tmp_path / "out")


def test_a_runtime_that_is_gone_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, "wrote(); answer()\n")
    target = targets.get("npu:k230")()
    assert target.missing() == []
    monkeypatch.setenv(dotnet.ROOT_VARIABLE, str(tmp_path / "gone"))
    monkeypatch.setattr(dotnet, "_SAID", tmp_path / "gone")
    monkeypatch.setattr(dotnet, "_USUAL", ())
    assert [need.distribution for need in target.missing()] == ["dotnet"]
    with pytest.raises(ToolchainMissingError, match=r"needs Microsoft's \.NET 7 or newer"):
        k230.dotnet_root()


def test_what_the_chip_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="K230 does not compute in fp32"):
        targets.get("npu:k230")().compile(network(tmp_path), CONTEXT, tmp_path / "out")
    foreign = replace(network(tmp_path), precision="int8-static")
    with pytest.raises(TargetError, match="not of the quantizer k230"):
        targets.get("npu:k230")().compile(foreign, CONTEXT, tmp_path / "out")


def test_what_is_asked_and_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked.json"
    pretend(
        monkeypatch,
        tmp_path,
        f"pathlib.Path({str(asked)!r}).write_text(json.dumps(request))\n"
        "import numpy as np\n"
        "assert [a.shape for a in np.load(request['samples']).values()] == [(16, 1, 3, 16, 16)]\n"
        "assert list(pathlib.Path(request['model']).parent.glob('*.data')) == []\n"
        "wrote(); answer()\n",
    )
    out = tmp_path / "out"
    compiled = targets.get("npu:k230")().compile(quantized(tmp_path / "m", "int16x8-static"), CONTEXT, out)
    request = json.loads(asked.read_text())
    assert request["config"] == {
        "quant_type": "int16",
        "w_quant_type": "uint8",
        "calibrate_method": "NoClip",
    }
    assert request["dotnet"] == str(tmp_path / "net")
    assert compiled.files == ("main_k230.kmodel", "main_k230.json", "main_k230_operators.json")
    assert compiled.run_file == compiled.files[0]
    assert sorted(path.name for path in out.iterdir()) == sorted(compiled.files)
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (2, 3)
    assert [reason.op for reason in compiled.placement.reasons] == ["Conv", "Mul", "Softmax"]
    assert all(reason.reason and reason.cure for reason in compiled.placement.reasons)
    assert compiled.placement.reasons[-1].reason == "nncase gives every Softmax to the CPU"
    assert (compiled.estimate, compiled.profile, compiled.tool.version) == (None, None, VERSION)
    (macs,) = compiled.metrics
    # the network has 8 3 9 256 + 16 8 9 64 + 160 multiplications, the program's one Conv2D on the CPU 16 3 9
    assert macs.value == pytest.approx(1 - 16 * 27 / (8 * 27 * 256 + 16 * 72 * 64 + 160))
    assert (
        "40.0% of the compiled operators run on the KPU; on the CPU: 1 Conv, 1 Mul, 1 Softmax"
        in compiled.notes
    )
    assert any("no latency: there is no K230 here" in note for note in compiled.notes)
    facts = k230.facts_of(out / compiled.run_file)
    assert (facts["inputs"], facts["outputs"], facts["version"]) == (["x"], ["y"], VERSION)


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        *isolated.FAILURES,
        ("answer({'ok': False, 'error': 'graph too large'})", "does not compile this model: graph too large"),
        (
            "log.write_text('Unhandled exception. System.N: Not Supported Onnx op: Mish\\n'); os.abort()",
            "does not compile this model: it has no Mish",
        ),
        (
            "log.write_text('Unhandled exception. System.X: a shape\\n   at Nncase.Run(Graph g)'); os.abort()",
            r"does not compile this model: System\.X: a shape, in Nncase\.Run \(k230\)",
        ),
        (
            "log.write_text('Process terminated. Assertion Failed\\n   at Nncase.ERewrite(A a, B b)\\n'); os.abort()",
            r"does not compile this model: Assertion Failed, in Nncase\.ERewrite \(k230\)",
        ),
        (
            "log.write_text('Unhandled exception. System.X: a shape'); os.abort()",
            r"does not compile this model: System\.X: a shape \(k230\)",
        ),
        ("wrote(); answer(GOOD | {'versions': {'nncase': '1.0'}})", r"nncase 1\.0 ran"),
        ("wrote(); answer(GOOD | {'versions': None})", "nncase of an unknown version ran"),
        ("answer()", r"wrote no \.kmodel file"),
        ("wrote(head=b'{}'); answer()", r"wrote no \.kmodel file"),
        (
            "pathlib.Path(request['kmodel']).write_bytes(b'LDMK'); answer()",
            "wrote no text of what it compiled",
        ),
        ("wrote('done'); answer()", "calls 0 of its 0 fusions"),
        ("wrote(PROGRAM.replace('Softmax(', 'Softmax[')); answer()", "cannot be read:   %5 = Softmax"),
        (
            "wrote(PROGRAM.replace('-> f32[1,10]\\n', '-> f32[10]\\n', 1)); answer()",
            r"gives arrays of \[\(10,\)\]",
        ),
        ("wrote(PROGRAM.replace('<k230>', '<cpu>')); answer()", "compiled for cpu and not for the K230"),
        (
            "wrote('\\n'.join(l for l in PROGRAM.splitlines() if 'Tile' not in l)); answer()",
            "put none of 3 operators on the KPU",
        ),
    ],
)
def test_a_worker_that_lets_us_down(
    worker: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, worker + "\n")
    context = replace(CONTEXT, time_limit_s=2 if "sleep" in worker else 60)
    out = tmp_path / "out"
    with pytest.raises(ToolchainFailedError, match=said):
        targets.get("npu:k230")().compile(quantized(tmp_path / "m"), context, out)
    assert list(out.iterdir()) == []
