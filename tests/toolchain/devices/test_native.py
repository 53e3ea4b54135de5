"""Bundles on devices without Python: the same checks, figures and errors by our own runner."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.runtime.devices.native import build
from edgepack.runtime.devices.runner.check import CALLS
from edgepack.runtime.kernels.build import what_is_missing
from edgepack.toolchain.devices import profiling, settings
from edgepack.toolchain.devices.asking_native import Native
from edgepack.toolchain.errors import (
    BundleError,
    DeviceError,
    TargetError,
    ToolchainMissingError,
    UnknownNameError,
    UsageError,
)
from tests.runtime.devices.android import network
from tests.runtime.devices.runner.boards import phone
from tests.toolchain.devices import by_hand, stateful

SHORT = settings.Settings(min_samples=30, min_seconds=0.2, max_seconds=2.0, every_s=0.05)


@pytest.fixture(scope="module", autouse=True)
def compiler():
    if missing := what_is_missing():
        pytest.skip(f"the runner cannot be built: there is no {missing}")


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / "a 'device's $(folder)")


def ask(bundle, workdir, **given):
    return profiling.profile(bundle, "local", SHORT, runner="native", workdir=workdir, **given)


@pytest.mark.slow
def test_a_bundle(small_bundle, workdir):
    """Outputs are those of the runtime in Python, to the bit; figures are whole."""
    found = ask(small_bundle, workdir)
    (target,) = found.targets
    assert target.parity["main"].passed
    assert target.parity["main"].max_abs_error == (
        profiling.profile(small_bundle, "local", SHORT, workdir=workdir)
        .targets[0]
        .parity["main"]
        .max_abs_error
    )
    (one,) = target.measured
    assert one.latency.samples >= 30
    assert 0 < one.latency.p50_ms <= one.latency.p90_ms
    assert one.latency.load_ms > 0
    assert sum(window.samples for window in one.windows) == one.latency.samples
    assert len(one.windows) > 1
    assert 0 < one.memory.baseline_bytes <= one.memory.load_bytes <= one.memory.peak_bytes
    assert one.memory.peak_bytes <= one.memory.end_bytes
    environment = found.device.environment
    assert environment.python == "none"
    assert environment.packages["onnxruntime"].startswith("1.")
    assert environment.cores == len(os.sched_getaffinity(0))
    assert environment.memory_bytes > 1 << 28
    assert list(Path(workdir, "runs").iterdir()) == []
    assert ask(small_bundle, workdir).targets[0].sent_bytes < 100_000 < target.sent_bytes


def test_a_program_of_two_parts_steps_by_its_links(tmp_path, workdir):
    bundle = stateful.write(tmp_path / "bundle")
    (target,) = ask(bundle, workdir).targets
    assert {name: parity.passed for name, parity in target.parity.items()} == {
        "start": True,
        "step": True,
        CALLS: True,
    }
    by_unit = {one.unit: one for one in target.measured}
    assert by_unit[CALLS].parts["step"].samples == 3 * by_unit[CALLS].latency.samples


def test_a_phone_s_files(small_bundle, workdir, tmp_path):
    """What the runner in Python reads there, this one reads, too."""
    asked = settings.Settings(
        min_samples=30, min_seconds=0.2, max_seconds=1.0, every_s=0.05, plans=("as-is", "one-big", "little")
    )
    root = str(phone(tmp_path / "phone"))
    native, python = (
        profiling.profile(small_bundle, "local", asked, workdir=workdir, root=root, runner=runner)
        for runner in ("native", "python")
    )
    assert native.device.clusters == python.device.clusters
    assert native.device.environment.cpu_model == python.device.environment.cpu_model
    assert native.device.environment.os == python.device.environment.os
    for one, other in zip(native.targets[0].measured, python.targets[0].measured, strict=True):
        assert (one.plan, one.cpus, one.threads) == (other.plan, other.cpus, other.threads)
        assert one.skipped == other.skipped
        assert one.before == other.before
        assert one.energy is None or one.energy.watts == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["native", "python"])
def test_native_operators_go_along(tmp_path, workdir, runner):
    """A binary layer without a function to fall back on: only the kernels can run it."""
    from tests.runtime.kernels.layers import BinaryLayer

    rng = np.random.default_rng(0)
    layer = BinaryLayer.random(rng, 64, 128)
    x = rng.standard_normal((3, 128), np.float32)
    model = layer.model()
    names = model.graph.input[0].name, model.graph.output[0].name
    bundle = by_hand.write(tmp_path / "bundle", model, [{names[0]: x}], [{names[1]: layer.expected(x)}])
    said: list[str] = []
    (target,) = profiling.profile(
        bundle, "local", SHORT, runner=runner, workdir=workdir, tell=said.append
    ).targets
    assert target.parity["main"].passed
    assert target.parity["main"].max_abs_error == 0
    assert any(build.LIBRARY in sentence for sentence in said), said


@pytest.mark.system("adb", "adbd")
def test_over_adb_with_no_python_there(small_bundle, workdir, tmp_path, monkeypatch):
    """`auto` takes the runner by itself where the device has no python3."""
    from edgepack.runtime.devices import device as devices

    prepared = devices._prepared

    def without(*given):
        found = prepared(*given)
        return replace(found, tools=found.tools - {"python3"})

    monkeypatch.setattr(devices, "_prepared", without)
    with network(tmp_path) as android:
        monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
        found = profiling.profile(small_bundle, android.address, SHORT, workdir=workdir)
        monkeypatch.undo()
    assert found.device.environment.python == "none"
    assert found.targets[0].measured[0].latency.samples >= 30


def test_wrong_outputs_are_found(small_bundle, workdir, tmp_path):
    """A runtime that is another model's: the bundle's references are not met, and nothing is measured."""
    from edgepack.toolchain.errors import GateError
    from edgepack.toolchain.pipeline import recording
    from tests.toolchain.devices.damage import rewrite

    copy = tmp_path / "copy"
    shutil.copytree(small_bundle.path, copy)

    def worse(path):
        feeds, reference = recording.read(path)
        reference[1]["y"] = reference[1]["y"][::-1] + 1
        recording.write_calls(path, list(zip(feeds, reference, strict=True)))

    rewrite(copy, small_bundle.artifacts[0].run.cases, worse)
    with pytest.raises(GateError, match=r"other outputs.*main.*first wrong output: y"):
        ask(edgepack.load(copy), workdir)


def test_what_the_runtime_says_is_said(small_bundle, workdir, tmp_path):
    from tests.toolchain.devices.damage import rewrite

    copy = tmp_path / "copy"
    shutil.copytree(small_bundle.path, copy)
    name = small_bundle.artifacts[0].run.file
    rewrite(copy, name, lambda path: path.write_bytes(path.read_bytes().replace(b"Relu", b"Rely")))
    with pytest.raises(DeviceError, match=r"The runner failed: .*Rely"):
        ask(edgepack.load(copy), workdir)
    rewrite(copy, name, lambda path: path.write_bytes(path.read_bytes()[:-8]))
    with pytest.raises(BundleError, match="cannot be read"):
        ask(edgepack.load(copy), workdir)


def test_libraries_that_do_not_serve(small_bundle, workdir, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        ask(small_bundle, workdir, native=Native(tmp_path / "none"))
    (tmp_path / "text").write_text("x")
    with pytest.raises(UsageError, match="is for no processor"):
        ask(small_bundle, workdir, native=Native(tmp_path / "text"))
    header = bytearray(Path(sys.executable).resolve().read_bytes()[:64])
    other = tmp_path / "junk.so"
    other.write_bytes(bytes(header))
    with pytest.raises(DeviceError, match="ONNX Runtime cannot be loaded"):
        ask(small_bundle, workdir, native=Native(other))
    with pytest.raises(UnknownNameError, match="perl"):
        profiling.profile(small_bundle, "local", SHORT, runner="perl", workdir=workdir)


@pytest.mark.parametrize("tools", [frozenset({"getprop"}), frozenset()])
def test_what_is_missing_is_said(small_bundle, workdir, monkeypatch, tools):
    """Android without a kit; a board whose processor is not this one, without its library."""
    from edgepack.runtime.devices import device as devices

    prepared = devices._prepared

    def other(*given):
        found = prepared(*given)
        return replace(found, system="Linux 5.4 aarch64", tools=found.tools | tools)

    monkeypatch.setattr(devices, "_prepared", other)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "5", "v", "x86_64")))
    said = (TargetError, "--ndk") if tools else (ToolchainMissingError, "manylinux_2_28_aarch64")
    with pytest.raises(said[0], match=said[1]):
        ask(small_bundle, workdir)
