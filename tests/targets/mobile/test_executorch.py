"""mobile:executorch: what is asked of the workers, and every way in which they can let us down."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgepack.quantize import executorch as quantizing
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions import _executorch_profile as profiles
from edgepack.targets.base import Context, targets
from edgepack.targets.mobile import executorch as module
from edgepack.toolchain.errors import (
    EdgepackError,
    TargetError,
    ToolchainFailedError,
    ToolchainMissingError,
    UsageError,
)
from edgepack.toolchain.forked import Forked
from edgepack.toolchain.program import Lowered, Part, Program, Signature, StateLink, TensorSpec
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.vendors import executorch
from edgepack.toolchain.vendors.executorch import Facts
from tests.onnx_files import empty_model

VERSION = "1.5.1"
CONTEXT = Context(source={"model": "m.py:make"}, sizes={"n": 2}, time_limit_s=60, threads=1)
SIGNATURE = Signature((TensorSpec("x", "float32", ("n", 3)),), (TensorSpec("y", "float32", ("n", 4)),))
PIECES = {
    "version": VERSION,
    "delegated": 3,
    "subgraphs": 1,
    "integer": 2,
    "portable": [{"node": "e", "op": "embedding.default", "reason": "why", "cure": "how"}],
    "convolutions": 0,
    "products": 24,
    "outputs": [[2, 4]],
}
HEAD = f"""
import json, os, pathlib, sys, time
request = json.loads(pathlib.Path(sys.argv[1]).read_text())
FACTS = {PIECES!r}
def program(data=b"\\0\\0\\0\\0ET12 and the rest"):
    pathlib.Path(request["folder"], "model.pte").write_bytes(data)
def answer(found):
    pathlib.Path(request["answer"]).write_text(json.dumps(found))
def good(**other):
    answer({{"ok": True, "facts": {{**FACTS, **other}}}})
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a script in the workers' places, on a machine where ExecuTorch seems to be installed."""
    known = {"executorch": VERSION, "torchao": "0.18.0"}
    workers = Forked("fake_executorch_warm")
    monkeypatch.setattr("importlib.metadata.version", known.__getitem__)

    def make(code: str) -> None:
        folder = tmp_path / "fake"
        folder.mkdir()
        (folder / "fake_executorch_worker.py").write_text(f"{HEAD}\n{code}\n")
        (folder / "fake_executorch_warm.py").write_text("def prepare():\n    pass\n")
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        monkeypatch.setattr(executorch, "WORKERS", workers)
        monkeypatch.setattr(module, "WORKER", "fake_executorch_worker")
        monkeypatch.setattr(quantizing, "WORKER", "fake_executorch_worker")

    yield make
    workers.close()


def program(folder: Path, kind: str = "factory", signature: Signature = SIGNATURE) -> tuple[Program, Part]:
    part = Part("main", empty_model(folder / "main.onnx"), signature)
    return Program({"main": part}, source={"kind": kind, "location": "model"}), part


def plain(folder: Path, **facts: object) -> Lowered:
    """A lowered part of the float worker's making."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.pte"
    path.write_bytes(b"\0\0\0\0ET12 and the rest")
    path.with_suffix(".json").write_text(json.dumps({**PIECES, "integer": 0, **facts}))
    return Lowered("main", "executorch", path, SIGNATURE.pinned({"n": 2}))


def data(*shapes: tuple[int, ...]) -> CalibrationData:
    samples = [{"x": np.full(shape, i, np.float32)} for i, shape in enumerate(shapes)]
    facts = Calibration(kind="user", description="ours", samples=len(samples), held_out=0)
    return CalibrationData(facts, samples, (), "f")


def test_is_registered_with_its_extra() -> None:
    assert targets.get("mobile:executorch") is module.ExecuTorch
    needs = module.ExecuTorch().requirements()
    assert {need.command for need in needs} == {"pip install 'edgepack[executorch]'"}
    assert [need.distribution for need in needs] == ["executorch", "torchao"]


def test_offers_suit_the_model(tmp_path: Path) -> None:
    target = module.ExecuTorch()
    found = target.offers(plain(tmp_path / "a", convolutions=90, products=10))
    assert [offer.precision for offer in found] == ["int8-static", "fp32", "int8-dynamic"]
    assert "90% of the multiplications are convolutions" in str(found[2].not_built)
    found = target.offers(plain(tmp_path / "b"))
    assert [(offer.precision, bool(offer.not_built)) for offer in found] == [
        ("int8-dynamic", False),
        ("fp32", False),
        ("int8-static", True),
    ]
    found = target.offers(plain(tmp_path / "c", products=0))
    assert [offer.precision for offer in found if not offer.not_built] == ["fp32"]


def test_what_is_asked_and_what_ships(worker, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    worker(f"pathlib.Path({str(asked)!r}).write_text(json.dumps(request))\nprogram()\ngood()")
    target, out = module.ExecuTorch(), tmp_path / "lowered"
    lowered = target.lower(*program(tmp_path), CONTEXT, out)
    request = json.loads(asked.read_text())
    assert {name: request[name] for name in ("source", "part", "sizes", "threads")} == {
        "source": {"model": "m.py:make"}, "part": "main", "sizes": {"n": 2}, "threads": 1,
    }  # fmt: skip
    assert lowered.signature.inputs[0].shape == (2, 3)
    assert sorted(path.name for path in out.iterdir()) == ["model.json", "model.pte"]
    compiled = target.compile(lowered, CONTEXT, tmp_path / "out")
    assert compiled.files == ("main.pte",) == (compiled.run_file,)
    placement = compiled.placement
    assert (placement.accelerator, placement.cpu, placement.device) == (3, 1, "XNNPACK")
    assert [(row.op, row.reason, row.cure) for row in placement.reasons] == [
        ("embedding.default", "why", "how")
    ]
    assert (compiled.tool.name, compiled.tool.version) == ("executorch", VERSION)


def test_a_size_that_follows_from_anothers_is_the_compilers(worker, tmp_path: Path) -> None:
    halved = Signature(SIGNATURE.inputs, (TensorSpec("y", "float32", ("n", "y_1")),))
    worker("program()\ngood(outputs=[[2, 7]])")
    lowered = module.ExecuTorch().lower(*program(tmp_path, signature=halved), CONTEXT, tmp_path / "out")
    assert lowered.signature.outputs[0].shape == (2, 7)


FAILURES = [
    ("os.abort()", "executorch failed with signal 6"),
    ("sys.exit('no memory')", "exit code 1. Its last words: no memory"),
    ("time.sleep(600)", "executorch did not finish within 2 s"),
    ("program()", "did not write answer.json"),
    ("program(); pathlib.Path(request['answer']).write_text('<html>')", "gave an answer that is none"),
    ("program(); answer([1])", "gave an answer that is none"),
    ("program(); answer({'ok': True})", "gave an answer that is none: KeyError"),
    ("program(); good(speed=3)", "gave an answer that is none: TypeError"),
    ("good()", "wrote no program into model.pte"),
    ("program(b''); good()", "wrote no program into model.pte"),
    ("program(b'a listing of some kernels'); good()", "wrote no program into model.pte"),
    ("program(); good(version='0.6.0')", r"executorch 0\.6\.0 ran, and 1\.5\.1 is installed"),
]


@pytest.mark.parametrize(("code", "said"), FAILURES)
def test_a_worker_that_lets_us_down(code: str, said: str, worker, tmp_path: Path) -> None:
    worker(code)
    context = replace(CONTEXT, time_limit_s=2 if "sleep" in code else 60)
    out = tmp_path / "out"
    with pytest.raises(ToolchainFailedError, match=said) as caught:
        module.ExecuTorch().lower(*program(tmp_path), context, out)
    assert caught.value.exit_code == ToolchainFailedError.exit_code
    assert not list(out.glob("*.pte"))
    assert not list(out.glob("executorch-*"))


def test_the_workers_own_refusal(worker, tmp_path: Path) -> None:
    worker(
        "answer({'ok': False, 'type': 'TargetError', 'what': 'ExecuTorch has no kernel for aten::x', 'where': 'part m',"
        " 'todo': 'Use another', 'trace': ''})"
    )
    with pytest.raises(TargetError, match=r"no kernel for aten::x \(part m\).*Use another"):
        module.ExecuTorch().lower(*program(tmp_path), CONTEXT, tmp_path / "out")


def test_nothing_delegated(worker, tmp_path: Path) -> None:
    worker("program(); good(delegated=0)")
    with pytest.raises(TargetError, match="XNNPACK takes none of the 1 operators of this model"):
        module.ExecuTorch().lower(*program(tmp_path), CONTEXT, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.pte"))


def test_nothing_quantized(worker, tmp_path: Path) -> None:
    worker("program(); good(integer=0)")
    for name, precision in (("executorch-dynamic", "int8-dynamic"), ("executorch-static", "int8-static")):
        with pytest.raises(TargetError, match=f"Quantizing to {precision} changed no operator"):
            quantizers.get(name)().quantize(
                plain(tmp_path / "m"), precision, data((2, 3)), tmp_path / precision
            )
        assert not list((tmp_path / precision).iterdir())


def test_what_a_quantizer_asks_and_says(worker, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    worker(
        "request['found'] = sorted(os.listdir(request['samples']))\n"
        f"pathlib.Path({str(asked)!r}).write_text(json.dumps(request))\nprogram()\ngood()"
    )
    made = quantizers.get("executorch-static")().quantize(
        plain(tmp_path / "m"),
        "int8-static",
        data((2, 3), (2, 3), (2, 3)),
        tmp_path / "out",
        samples=2,
        operators="linear, add",
    )
    request = json.loads(asked.read_text())
    assert request["found"] == ["000000.npz", "000001.npz"]
    assert (request["dynamic"], request["per_channel"], request["inputs"]) == (False, True, ["x"])
    assert request["operators"] == ["linear", "add"]
    assert request["input"] == str(tmp_path / "m" / "model.pt2")
    assert (made.precision, made.changed_nodes) == ("int8-static", 2)
    assert made.notes == ("1 of 3 operators in XNNPACK stay in float",)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.json", "model.pte"]


@pytest.mark.parametrize(
    ("options", "samples", "said"),
    [
        ({}, data(), "needs calibration data, and there is none"),
        ({}, data((2, 4)), r"Calibration sample 1 does not have the input x:float32\[2,3\]"),
        (
            {"operators": "lineer"},
            data((2, 3)),
            "'operators' of executorch-static 'lineer'.*Did you mean 'linear'",
        ),
        ({"samples": 0}, data((2, 3)), "'samples' of executorch-static cannot be 0"),
    ],
)
def test_what_a_static_quantizer_refuses(options, samples, said: str, worker, tmp_path: Path) -> None:
    worker("program(); good()")
    with pytest.raises(UsageError, match=said):
        quantizers.get("executorch-static")().quantize(
            plain(tmp_path / "m"), "int8-static", samples, tmp_path / "out", **options
        )


def test_a_tool_that_is_missing_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", none)
    with pytest.raises(ToolchainMissingError, match=r"pip install 'edgepack\[executorch\]'"):
        module.ExecuTorch().lower(*program(tmp_path), CONTEXT, tmp_path / "out")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.6.0")
    with pytest.raises(ToolchainMissingError, match=r"ExecuTorch 0\.6\.0 is installed, and 1\.5 or newer"):
        module.ExecuTorch().lower(*program(tmp_path), CONTEXT, tmp_path / "out")


def test_sources_that_are_refused(worker, tmp_path: Path) -> None:
    worker("program(); good()")
    target = module.ExecuTorch()
    with pytest.raises(TargetError, match="an ONNX file holds none") as caught:
        target.lower(*program(tmp_path, "onnx"), CONTEXT, tmp_path / "out")
    assert "--target mobile:litert" in str(caught.value)
    with pytest.raises(UsageError, match="--size n=128"):
        target.lower(*program(tmp_path), replace(CONTEXT, sizes={}), tmp_path / "out")
    growing = Signature(
        (TensorSpec("past", "float32", (1, "past", 8)),), (TensorSpec("now", "float32", (1, "past+step", 8)),)
    )
    made, part = program(tmp_path, signature=growing)
    made = replace(made, links=(StateLink("main", "now", "main", "past"),))
    with pytest.raises(TargetError, match="the state 'past' grows"):
        target.lower(made, part, CONTEXT, tmp_path / "out")


def test_facts_survive_a_file(tmp_path: Path) -> None:
    lowered = plain(tmp_path)
    facts = Facts.of(lowered.path)
    facts.save(lowered.path)
    assert Facts.of(lowered.path) == facts
    assert replace(facts, convolutions=8).convolution_share == 0.25
    assert not executorch.is_program(tmp_path / "none.pte")


def test_a_trace_becomes_times(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        ("native_call_embedding.out", [9.0, 1.0, 3.0], False),
        ("OPERATOR_CALL", [9.0, 2.0, 4.0], False),
        ("Fully Connected (NC, F32) GEMM #1", [9.0, 2.0, 2.0], True),
        ("Fully Connected (NC, F32) GEMM #2", [9.0, 1.0, 1.0], True),
        ("DELEGATE_CALL", [9.0, 4.0, 6.0], False),
        ("Method::execute", [30.0, 9.0, 9.0], False),
    ]
    monkeypatch.setattr(profiles, "_events", lambda _: events)
    rows = profiles.operator_times(Path("trace"), 1)
    assert [(row.op, row.calls, row.time_ms) for row in rows] == [
        ("Fully Connected (NC, F32) GEMM (XNNPACK)", 2, 3.0),
        ("embedding.out (portable)", 1, 2.0),
        ("rest of XNNPACK's calls", 1, 2.0),
    ]
    assert sum(row.share for row in rows) == pytest.approx(1)


def test_a_trace_that_cannot_be_read(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    (tmp_path / "trace.etdp").write_bytes(b"nothing of the kind")
    with pytest.raises(EdgepackError, match="trace of ExecuTorch's profiler cannot be read"):
        profiles.operator_times(tmp_path / "trace.etdp", 0)


def test_kernels_that_the_runtime_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepack.toolchain.vendors import executorch_lowering as lowering

    registry = SimpleNamespace(operator_names={"aten::add.out"})
    runtime = SimpleNamespace(get=lambda: SimpleNamespace(operator_registry=registry))
    monkeypatch.setattr(lowering, "import_runtime", lambda: (runtime, None))
    operators = [
        SimpleNamespace(name="aten::add", overload="out"),
        SimpleNamespace(name="my::op", overload=""),
    ]
    made = SimpleNamespace(
        executorch_program=SimpleNamespace(execution_plan=[SimpleNamespace(operators=operators)])
    )
    with pytest.raises(TargetError, match="ExecuTorch has no kernel for my::op"):
        lowering._refuse_lacking(made, "main")


def test_a_session_without_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepack.runtime.sessions.executorch import ExecuTorchSession

    for name in ("executorch.extension.pybindings.portable_lib", "executorch.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(executorch, "_runtime", None)
    with pytest.raises(
        ToolchainMissingError, match=r"cannot be imported.*pip install 'edgepack\[executorch\]'"
    ):
        ExecuTorchSession(tmp_path / "x.pte", SIGNATURE)
