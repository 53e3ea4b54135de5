"""Real runs on this machine as several devices: figures, a device that is not there, and a model that got slower."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepack.toolchain.devices import profiling
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.errors import DeviceError, UnknownNameError, UsageError
from edgepack.toolchain.farm import plan, run
from tests.toolchain.devices import by_hand


def model(layers: int) -> onnx.ModelProto:
    """x -> x w w ... w, whose result is x: w is the unit matrix."""
    size = 256
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(layers)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, [64, size])],
        [helper.make_tensor_value_info(f"x{layers}", onnx.TensorProto.FLOAT, [64, size])],
        [onnx.numpy_helper.from_array(np.eye(size, dtype=np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def bundle(folder, layers):
    shutil.rmtree(folder, ignore_errors=True)
    x = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    by_hand.write(folder, model(layers), [{"x0": x}], [{f"x{layers}": x}])


def farm(folder, *words):
    command = [sys.executable, "-m", "edgepack", "farm", "devices.yaml", "--out", "out", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_from_day_to_day(tmp_path):
    bundle(tmp_path / "bundle", 1)
    text = f"bundles: {{unit: bundle}}\ndevices: {{here: {{address: local, workdir: {tmp_path}/device}}}}\n"
    (tmp_path / "devices.yaml").write_text(text)
    first = farm(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "Nothing is worse" in first.stdout
    (row,) = csv.DictReader((tmp_path / "out" / "farm.csv").read_text().splitlines())
    assert (row["device"], row["bundle"], row["verdict"], row["run"]) == ("here", "unit", "first", "1")
    assert float(row["p50_ms"]) > 0

    bundle(tmp_path / "bundle", 40)
    slow = farm(tmp_path)
    assert slow.returncode == 3, slow.stderr
    assert "Worse than in the last good run: unit on here" in slow.stderr
    (row,) = json.loads((tmp_path / "out" / "farm.json").read_text())["results"]
    assert row["verdict"] == "worse"
    assert row["p50_ms"] > 5 * row["before_ms"]

    accepted = farm(tmp_path, "--accept")
    assert accepted.returncode == 0
    assert "1 figures" in accepted.stderr

    (tmp_path / "devices.yaml").write_text(text.replace("}}", ", runner: python, python: /no/python}}"))
    gone = farm(tmp_path, "--json")
    assert gone.returncode == 3, gone.stderr
    (row,) = json.loads(gone.stdout)["results"]
    assert row["verdict"] == "failed"
    assert "no Python" in row["error"]
    assert row["unit"] == "main"
    assert row["before_ms"] is not None


def test_devices_run_side_by_side_and_one_that_fails_keeps_nobody(tmp_path, monkeypatch):
    """Two devices meet at a barrier, which they reach only together; a third is not there."""
    bundle(tmp_path / "bundle", 1)
    (tmp_path / "devices.yaml").write_text(
        "bundles: {one: bundle, two: bundle}\n"
        "devices: {a: {address: 'ssh://a.invalid'}, b: {address: 'ssh://b.invalid'}, c: {address: 'adb://none'}}\n"
    )
    barrier, real = threading.Barrier(2), profiling.profile

    def here(bundle, address, *given, **options):
        if address == "adb://none":
            raise DeviceError("it is not there")
        barrier.wait(60)
        return real(bundle, "local", *given, **{**options, "workdir": str(tmp_path / address[6])})

    monkeypatch.setattr(profiling, "profile", here)
    monkeypatch.setattr(plan.FarmPlan, "settings", lambda _: Settings(min_samples=9, min_seconds=0.01))
    report = run.run(plan.read(tmp_path / "devices.yaml"))
    assert [one.error for one in report.failed] == [report.failed[-1].error] * 2
    assert [(one.device, one.bundle, one.verdict) for one in report.results] == [
        ("a", "one", "first"),
        ("a", "two", "first"),
        ("b", "one", "first"),
        ("b", "two", "first"),
        ("c", "one", "no figure"),
        ("c", "two", "no figure"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: {a: {address: local}}", "bundles: Field required"),
        ("bundles: {}\ndevices: {a: {address: local}}", "bundles"),
        ("bundles: {x: b}\ndevices: {a: {address: local, colour: red}}", "devices.a.colour"),
        ("bundles: {x: b}\ndevices: {a: {address: 'ssh://-oProxyCommand=x'}}", "not the address"),
        ("bundles: {x: b}\ndevices: {a: {address: local, runner: perl}}", "perl"),
        ("bundles: {x: b}\ndevices: {a: {address: local}}\npreset: long", "long"),
        ("bundles: {x: b}\ndevices: {a: {address: local}}\ntolerance: -1", "tolerance"),
        ("]", "cannot be read"),
        ("", "the file"),
    ],
)
def test_plans_that_are_wrong(tmp_path, text, said):
    (tmp_path / "devices.yaml").write_text(text)
    with pytest.raises((UsageError, UnknownNameError), match=said):
        plan.read(tmp_path / "devices.yaml")


def test_paths_belong_to_the_file(tmp_path):
    (tmp_path / "devices.yaml").write_text(
        "bundles: {x: b}\ndevices: {a: {address: local, onnxruntime: lib.so, ndk: /opt/ndk}}"
    )
    found = plan.read(tmp_path / "devices.yaml")
    assert found.bundles["x"] == tmp_path / "b"
    assert found.devices["a"].onnxruntime == tmp_path / "lib.so"
    assert str(found.devices["a"].ndk) == "/opt/ndk"
    assert found.database == f"sqlite:///{(tmp_path / 'farm.db').resolve()}"
