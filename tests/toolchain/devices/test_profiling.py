"""Bundles on devices: checked there before anything is measured, and judged by the host's statistics."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.runtime import environment
from edgepack.runtime.devices.runner.check import CALLS
from edgepack.toolchain import files
from edgepack.toolchain.devices import profiling, settings
from edgepack.toolchain.devices.results import DeviceProfile
from edgepack.toolchain.errors import (
    BundleError,
    DeviceError,
    GateError,
    TargetError,
    ToolchainMissingError,
    UnknownNameError,
)
from edgepack.toolchain.pipeline import recording
from tests.runtime.devices.android import network
from tests.runtime.devices.runner.boards import phone
from tests.runtime.devices.sshd import server
from tests.toolchain.devices import stateful

SHORT = settings.Settings(min_samples=30, min_seconds=0.2, max_seconds=2.0, every_s=0.05)


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / "a 'device's $(folder)")


@pytest.fixture
def copied(small_bundle, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(small_bundle.path, tmp_path / "copy")
    return tmp_path / "copy"


def left(workdir):
    return list(Path(workdir, "runs").iterdir())


def test_a_bundle_here(small_bundle, workdir):
    said: list[str] = []
    found = profiling.profile(small_bundle, "local", SHORT, workdir=workdir, tell=said.append)
    (target,) = found.targets
    assert target.parity["main"].passed
    assert target.parity["main"].inputs_tried >= 3
    (one,) = target.measured
    assert one.latency.samples >= 30
    latency = one.latency
    assert latency is not None
    assert latency.p90_ms is not None
    assert latency.load_ms is not None
    assert 0 < latency.p50_ms <= latency.p90_ms
    assert latency.load_ms > 0
    assert one.calls_per_s == pytest.approx(1e3 / one.latency.p50_ms, rel=0.9)
    assert one.memory.baseline_bytes < one.memory.peak_bytes
    assert [window.s for window in one.windows] == sorted(window.s for window in one.windows)
    assert sum(window.samples for window in one.windows) == one.latency.samples
    assert target.sent_bytes > 0
    assert said.index("checking cpu:onnxruntime on the device") < said.index(
        "measuring cpu:onnxruntime on the device"
    )
    assert left(workdir) == []
    assert DeviceProfile.model_validate_json(found.model_dump_json()) == found
    again = profiling.profile(small_bundle, "local", SHORT, workdir=workdir)
    assert again.targets[0].sent_bytes < 10_000 < target.sent_bytes, "model and runner were there"


def test_outputs_that_are_wrong_give_no_latency(copied, workdir):
    """Another reference than the device computes: the same as a device that computes something else."""
    bundle = edgepack.load(copied)
    name = bundle.artifacts[0].run.cases
    feeds, reference = recording.read(copied / name)
    reference[1]["y"] = reference[1]["y"][::-1] + 1
    recording.write_calls(copied / name, list(zip(feeds, reference, strict=True)))
    manifest = json.loads((copied / "manifest.json").read_text())
    found = files.hash_file(copied / name)
    manifest["files"][name] = {"sha256": found.sha256, "size_bytes": found.size_bytes}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    said: list[str] = []
    with pytest.raises(GateError, match=r"other outputs.*main.*first wrong output: y") as error:
        profiling.profile(edgepack.load(copied), "local", SHORT, workdir=workdir, tell=said.append)
    assert error.value.exit_code == 3
    assert not [sentence for sentence in said if "measuring" in sentence]
    assert left(workdir) == []


def test_a_bundle_that_was_changed_is_not_sent(copied, workdir):
    bundle = edgepack.load(copied)
    file = copied / bundle.artifacts[0].run.file
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BundleError, match="not the one of the manifest"):
        profiling.profile(bundle, "local", SHORT, workdir=workdir)
    assert not Path(workdir, "store").exists() or not list(Path(workdir, "store").iterdir())


def test_a_device_without_python_or_without_the_runtime(small_bundle, workdir, tmp_path):
    with pytest.raises(ToolchainMissingError, match=r"no Python '/no/python'.*--python") as error:
        profiling.profile(small_bundle, "local", SHORT, workdir=workdir, python="/no/python")
    assert error.value.exit_code == 4
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(ToolchainMissingError, match="pip install numpy onnxruntime"):
        profiling.profile(small_bundle, "local", SHORT, workdir=workdir, python=str(bare))


def test_unknown_targets_and_those_that_do_not_run_there(small_bundle, copied, workdir):
    with pytest.raises(UnknownNameError, match="mobile:none"):
        profiling.profile(small_bundle, "local", SHORT, target="mobile:none", workdir=workdir)
    text = (copied / "manifest.json").read_text().replace('"cpu:onnxruntime"', '"npu:ethos-u55-128"')
    (copied / "manifest.json").write_text(text)
    with pytest.raises(TargetError, match="accelerator is not what"):
        profiling.profile(edgepack.load(copied), "local", SHORT, workdir=workdir)


def test_a_sweep_on_a_phone_s_files(small_bundle, workdir, tmp_path):
    """Its cores 2 and 3 need not be here: a plan that cannot be is skipped in words, and never measured elsewhere."""
    asked = settings.Settings(
        min_samples=30, min_seconds=0.2, max_seconds=1.0, every_s=0.05, plans=("as-is", "one-big", "little")
    )
    root = phone(tmp_path / "phone")
    found = profiling.profile(small_bundle, "local", asked, workdir=workdir, root=str(root))
    assert "Cortex-A76" in found.device.environment.cpu_model
    assert [cluster.cpus for cluster in found.device.clusters] == [[0, 1], [2], [3]]
    by_plan = {str(one.plan): one for one in found.targets[0].measured}
    assert set(by_plan) == {"as-is", "one-big", "little"}
    for plan, cpus in (("one-big", [3]), ("little", [0, 1])):
        one = by_plan[plan]
        assert (one.latency is None) == bool(one.skipped)
        assert one.skipped is None or "cores" in one.skipped
        assert one.skipped is not None or one.cpus == cpus
    first = by_plan["as-is"]
    assert first.before.governor == dict.fromkeys("0123", "schedutil")
    assert first.energy.watts == pytest.approx(1.0), "0.25 A at 4 V"
    assert first.calls_per_s is not None
    assert first.energy.joules_per_call * first.calls_per_s == pytest.approx(1.0)


def test_a_program_of_two_parts_steps_by_its_links(tmp_path, workdir):
    """The references of the calls in a row hold only where states are handed on, and begin as they should."""
    bundle = stateful.write(tmp_path / "bundle")
    assert edgepack.verify(bundle.path).ok
    (target,) = profiling.profile(bundle, "local", SHORT, workdir=workdir).targets
    assert {name: parity.passed for name, parity in target.parity.items()} == {
        "start": True,
        "step": True,
        CALLS: True,
    }
    assert target.parity[CALLS].inputs_tried == len(stateful.CALLS)
    by_unit = {one.unit: one for one in target.measured}
    assert set(by_unit) == {"start", "step", CALLS}
    row = by_unit[CALLS]
    assert row.parts["step"].samples == 3 * row.latency.samples
    assert row.parts["start"].samples == row.latency.samples
    assert row.latency.p50_ms > row.parts["step"].p50_ms


@pytest.mark.system("openssh-server")
def test_over_ssh_with_a_link_that_breaks(small_bundle, workdir, tmp_path):
    asked = settings.Settings(min_samples=30, min_seconds=3.0, max_seconds=4.0, every_s=0.5)
    with server(tmp_path) as sshd:

        def tell(sentence):
            if "measuring" in sentence:
                threading.Timer(1.0, sshd.cut).start()

        found = profiling.profile(
            small_bundle,
            sshd.address,
            asked,
            workdir=workdir,
            python=sys.executable,
            ssh_config=sshd.config,
            tell=tell,
        )
    assert found.links_lost >= 1
    assert found.targets[0].measured[0].latency.samples >= 30
    assert left(workdir) == []


@pytest.mark.system("adb", "adbd")
def test_over_adb(small_bundle, workdir, tmp_path, monkeypatch):
    with network(tmp_path) as android:
        monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
        found = profiling.profile(
            small_bundle, android.address, SHORT, workdir=workdir, python=sys.executable
        )
        assert found.device.address == android.address
        assert found.targets[0].parity["main"].passed
        assert found.targets[0].measured[0].latency.samples >= 30
        assert left(workdir) == []
        monkeypatch.undo()


def test_feeds_have_the_sizes_that_the_host_timed(small_bundle):
    from edgepack.toolchain.devices.subject import feed, subjects
    from edgepack.toolchain.results import Latency

    (subject,), _ = subjects(small_bundle, None)
    (artifact,) = subject.artifacts
    timed = artifact.model_copy(
        update={"latency": Latency(kind="measured", p50_ms=1.0, shapes={"x": [5, 8]})}
    )
    rows = feed(subject, timed)["x"]
    assert rows.shape == (5, 8)
    assert np.array_equal(rows[0], rows[4])


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": True},
        {"ok": True, "facts": {}, "clusters": [], "outputs": {}},
        {"ok": True, "facts": 7},
        [],
        "x",
        {},
    ],
)
def test_a_device_that_answers_something_else(small_bundle, workdir, tmp_path, answer):
    """With all proofs: the script that stands for Python writes it as the result."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\ncat >result.json <<'X'\n{json.dumps(answer)}\nX\n")
    fake.chmod(0o755)
    with pytest.raises(DeviceError):
        profiling.profile(small_bundle, "local", SHORT, workdir=workdir, python=str(fake))


def test_outputs_that_are_no_arrays(small_bundle, workdir, tmp_path):
    facts = environment.facts(1, spinning=False)
    place = {"file": "o.npz", "sha256": files.hash_file(_written(tmp_path / "o", "junk")).sha256}
    answer = {"ok": True, "facts": facts, "clusters": [], "outputs": {"main": place}}
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nprintf junk >o.npz\ncat >result.json <<'X'\n{json.dumps(answer)}\nX\n")
    fake.chmod(0o755)
    with pytest.raises(DeviceError, match="outputs of main cannot be read"):
        profiling.profile(small_bundle, "local", SHORT, workdir=workdir, python=str(fake))
    place["file"] = "../../../etc/passwd"
    fake.write_text(f"#!/bin/sh\ncat >result.json <<'X'\n{json.dumps(answer)}\nX\n")
    with pytest.raises(DeviceError, match="not in the run's folder"):
        profiling.profile(small_bundle, "local", SHORT, workdir=workdir, python=str(fake))


def _written(path, text):
    path.write_text(text)
    return path
