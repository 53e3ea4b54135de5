"""npu:rk*, npu:rv*: what is asked of the worker, and every way in which it can let us down, by a fake worker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.targets.base import Context, targets
from edgepack.targets.npu.rknn import CHIPS
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, ToolchainMissingError
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.vendors import rknn
from tests import isolated
from tests.rknn_models import TABLE, VERSION, network, pretend, quantized, table

NAMES = [f"npu:{chip.platform}" for chip in CHIPS]
CONTEXT = Context(source={}, sizes={}, time_limit_s=60)
ERRORS = (
    "[Input] x                  1.00000 | 0.00000   1.00000 | 0.00000       \n"
    "[Conv] c1                  \n"
    "[Relu] r1                  0.99995 | 0.30900   0.99995 | 0.30900       \n"
    "[Conv] c2                  0.99989 | 0.55377   0.99993 | 0.45182       \n"
)


def test_registered_and_light() -> None:
    isolated.registered_and_light(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_facts(name: str, tmp_path: Path) -> None:
    target = targets.get(name)()
    assert (target.family, target.runs_here, target.estimated) == ("npu", False, False)
    offers = {offer.precision: offer.quantizer for offer in target.offers(network(tmp_path))}
    assert offers["int8-static"] == "rknn"
    assert offers.get("fp16") is None
    assert ("fp16" in offers) == (name != "npu:rv1106")


def test_a_missing_environment_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "none"))
    target = targets.get("npu:rk3588")()
    assert [need.distribution for need in target.missing()] == ["rknn-toolkit2"]
    with pytest.raises(ToolchainMissingError, match="edgepack setup npu:rk3588"):
        target.compile(network(tmp_path), CONTEXT, tmp_path / "out")


def test_what_a_chip_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="RV1106 does not compute in fp16"):
        targets.get("npu:rv1106")().compile(network(tmp_path), CONTEXT, tmp_path / "out")
    foreign = replace(network(tmp_path), precision="int8-static")
    with pytest.raises(TargetError, match="not of the quantizer rknn"):
        targets.get("npu:rk3588")().compile(foreign, CONTEXT, tmp_path / "out")


def test_what_is_asked_and_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked.json"
    pretend(
        monkeypatch,
        tmp_path,
        f"pathlib.Path({str(asked)!r}).write_text(json.dumps(request))\n"
        "import numpy as np\n"
        "assert [a.shape for a in np.load(request['samples']).values()] == [(16, 1, 3, 16, 16)]\n"
        f"os.mkdir(request['accuracy']); open(request['accuracy'] + '/error_analysis.txt', 'w').write({ERRORS!r})\n"
        "wrote(); answer()\n",
    )
    out = tmp_path / "out"
    compiled = targets.get("npu:rk3588")().compile(quantized(tmp_path / "m"), CONTEXT, out)
    request = json.loads(asked.read_text())
    assert (request["platform"], request["dtype"], request["inputs"]) == ("rk3588", "w8a8", ["x"])
    assert request["config"] == {"quantized_algorithm": "normal", "quantized_method": "channel"}
    assert compiled.files == ("main_rk3588.rknn", "main_rk3588_layers.json")
    assert sorted(path.name for path in out.iterdir()) == sorted((*compiled.files, compiled.run_file))
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (3, 1)
    (reason,) = compiled.placement.reasons
    assert (reason.op, reason.node) == ("Reshape", "Reshape:y_mm_tp_rs")
    assert reason.reason
    assert reason.cure
    assert (compiled.estimate, compiled.profile, compiled.tool.version) == (None, None, VERSION)
    metrics = {metric.name: (metric.value, metric.kind) for metric in compiled.metrics}
    assert metrics == {"npu cycles": (3664.0, "vendor-estimate"), "macs on the npu": (1.0, "counted")}
    assert any("no latency: there is no chip here" in note for note in compiled.notes)
    assert compiled.notes[-1].endswith("c2 (Conv) 0.99993, r1 (Relu) 0.99995")
    layers = json.loads((out / compiled.files[1]).read_text())
    assert [row["macs"] for row in layers["layers"]] == [55296, 73728, 3136, 0]
    facts = rknn.unpack(out / compiled.run_file, tmp_path / "unpacked")
    assert facts["rknn"] == hash_file(out / compiled.files[0]).sha256
    assert facts["version"] == VERSION
    found = {path.name for path in (tmp_path / "unpacked").iterdir()}
    assert found == {"main.onnx", "main.onnx.data", "samples.npz", "build.json"}


def test_float16_needs_no_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row.replace("INT8 ", "FLOAT16") for row in TABLE]
    check = "assert request['dtype'] is request['samples'] is None and request['config'] == {}\n"
    pretend(monkeypatch, tmp_path, f"{check}wrote({table(*rows)!r}); answer()\n")
    compiled = targets.get("npu:rk3566")().compile(network(tmp_path / "m"), CONTEXT, tmp_path / "out")
    assert "4 of 4 layers compute in FLOAT16" in compiled.notes
    assert not any("own analysis" in note for note in compiled.notes)


def test_rules_that_were_switched_off_are_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row.replace("INT8 ", "FLOAT16") for row in TABLE]
    pretend(monkeypatch, tmp_path, f"wrote({table(*rows)!r}); answer(GOOD | {{'without': ['fuse_a']}})\n")
    out = tmp_path / "out"
    compiled = targets.get("npu:rk3588")().compile(network(tmp_path / "m"), CONTEXT, out)
    assert "rknn-toolkit2 optimized without its rule fuse_a, which fails on this graph" in compiled.notes
    facts = rknn.unpack(out / compiled.run_file, tmp_path / "unpacked")
    assert rknn.request(facts, tmp_path)["config"] == {"disable_rules": ["fuse_a"]}


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        *isolated.FAILURES,
        ("answer({'ok': False, 'error': 'graph too large'})", "does not compile this model: graph too large"),
        (
            (
                "log.write_text('W a\\n\\x1b[1;31mE\\x1b[0m \\x1b[1;31mbuild: no such operator\\x1b[0m'); "
                "answer({'ok': False, 'error': 'build returned -1'})"
            ),
            r"build returned -1 \(build: no such operator\)",
        ),
        ("wrote(); answer(GOOD | {'versions': {'rknn-toolkit2': '1.0'}})", r"rknn-toolkit2 1\.0 ran"),
        ("wrote(); answer(GOOD | {'versions': None})", "rknn-toolkit2 of an unknown version ran"),
        ("log.write_text(TABLE); answer()", r"wrote no \.rknn file"),
        ("wrote(head=b'{}'); answer()", r"wrote no \.rknn file"),
        ("wrote('building done'); answer()", "logged no table of layers"),
        ("wrote(TABLE.replace('266/2304/2304', 'many')); answer()", "cannot be read: '1 "),
        ("wrote(TABLE.replace(' NPU ', ' CPU ')); answer()", "put none of 4 layers on the NPU"),
        ("wrote(TABLE.replace('INT8 ', 'FLOAT16')); answer()", "asked for INT8 and computes no layer in it"),
    ],
)
def test_a_worker_that_lets_us_down(
    worker: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, worker + "\n")
    context = replace(CONTEXT, time_limit_s=2 if "sleep" in worker else 60)
    out = tmp_path / "out"
    with pytest.raises(ToolchainFailedError, match=said):
        targets.get("npu:rk3588")().compile(quantized(tmp_path / "m"), context, out)
    assert list(out.iterdir()) == []
