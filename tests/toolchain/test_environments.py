"""Isolated environments: made of locked wheels, interrupted, resumed, brought up to date, removed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgepack.toolchain import api
from edgepack.toolchain.environments import ROOT_VARIABLE, STAMP_FILE, IsolatedEnvironment, root
from edgepack.toolchain.errors import ToolchainFailedError, ToolchainMissingError, UsageError
from edgepack.toolchain.vendors import qnn, rknn

HERE = sys.version_info[1]


def wheel(folder: Path, name: str, version: str, *needs: str) -> str:
    """Write a wheel with one module; its line in a lock file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        wanted = "".join(f"Requires-Dist: {need}\n" for need in needs)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip sees the wheels of this folder and nothing else."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "environments"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "wheels"


@pytest.mark.slow
def test_from_nothing_to_removed(offline: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    first, second = wheel(offline, "alpha", "1.0"), wheel(offline, "beta", "2.0")
    lock.write_text(
        f"# a comment\n{first}{second.replace('sha256:', 'sha256:' + '0' * 64 + ' --hash=sha256:', 1)}"
    )
    made = IsolatedEnvironment("small", lock, (HERE, HERE))
    assert made.state() == "absent"
    with pytest.raises(ToolchainMissingError, match=r"'small' is absent.*Run: make it"):
        made.check("make it")
    told: list[tuple[int, int, str]] = []
    assert made.set_up(lambda *step: told.append(step)) == 2
    assert told[0] == (0, 4, "virtual environment")
    assert [text for _, _, text in told[1:3]] == ["alpha 1.0", "beta 2.0"]
    assert told[-1] == (4, 4, "ready")
    assert (made.state(), made.version("beta"), made.version("gamma")) == ("ready", "2.0", None)
    code = "import alpha, beta; print(alpha.version, beta.version)"
    shown = subprocess.run([made.interpreter, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["1.0", "2.0"]
    written = (made.folder / STAMP_FILE).stat().st_mtime_ns
    assert made.set_up() == 0
    assert (made.folder / STAMP_FILE).stat().st_mtime_ns == written  # whoever uses it is not disturbed

    # interrupted while beta was written: no RECORD, no stamp
    next(made.folder.glob("lib/*/site-packages/beta-2.0.dist-info/RECORD")).unlink()
    (made.folder / STAMP_FILE).unlink()
    assert (made.state(), made.version("alpha")) == ("unfinished", None)
    assert made.set_up() == 1

    # a new lock file
    lock.write_text(first + wheel(offline, "beta", "2.1"))
    assert (made.state(), made.version("beta")) == ("outdated", None)
    assert made.set_up() == 1
    assert made.version("beta") == "2.1"

    # a wheel that is not the locked one is not installed, and the environment is not called ready
    wheel(offline, "gamma", "1.0")
    lock.write_text(f"{first}gamma==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ToolchainFailedError, match=r"pip failed.*(?i:hash)"):
        made.set_up()
    assert made.state() == "unfinished"

    assert made.remove()
    assert (made.state(), made.remove()) == ("absent", False)


@pytest.mark.slow
def test_what_is_left_out_on_purpose(offline: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(wheel(offline, "alpha", "1.0", "huge", "big-one"))
    made = IsolatedEnvironment("small", lock, (HERE, HERE), left_out=("huge",))
    with pytest.raises(ToolchainFailedError, match=r"alpha 1\.0 requires big-one, which is") as failed:
        made.set_up()
    assert "huge" not in str(failed.value)
    assert made.state() == "unfinished"
    made = IsolatedEnvironment("small", lock, (HERE, HERE), left_out=("huge", "big-one"))
    assert made.set_up() == 0  # nothing had to be installed again
    assert made.state() == "ready"


def test_only_what_is_locked(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    for line in ("alpha\n", "alpha>=1 --hash=sha256:00\n", "alpha==1.0\n"):
        lock.write_text(line)
        with pytest.raises(ToolchainFailedError, match="is not locked"):
            IsolatedEnvironment("x", lock, (HERE, HERE)).pins()


def test_another_python_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "environments"))
    made = IsolatedEnvironment("x", qnn.ENVIRONMENT.lock, (HERE + 1, HERE + 2))
    with pytest.raises(ToolchainFailedError, match=f"needs Python 3.{HERE + 1} to 3.{HERE + 2}"):
        made.set_up()
    assert not (tmp_path / "environments").exists()


def test_a_damaged_stamp_is_an_unfinished_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    qnn.ENVIRONMENT.folder.mkdir()
    for text in ("", "{", "[]"):
        (qnn.ENVIRONMENT.folder / STAMP_FILE).write_text(text)
        assert qnn.ENVIRONMENT.state() == "unfinished"


def test_the_lock_files_of_this_package() -> None:
    pins = {pin.name: pin.version for pin in qnn.ENVIRONMENT.pins()}
    assert pins.keys() >= {"onnxruntime-qnn", "onnxruntime", "numpy"}
    assert qnn.ENVIRONMENT.pythons == (11, 13)
    pins = {pin.name: pin.version for pin in rknn.ENVIRONMENT.pins()}
    assert pins.keys() >= {"rknn-toolkit2", "onnxruntime", "numpy", "onnx", "setuptools"}
    assert not pins.keys() & set(rknn.ENVIRONMENT.left_out)
    assert rknn.ENVIRONMENT.pythons == (11, 12)


def test_the_api_and_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    assert root() == tmp_path
    info = {target.name: target for target in api.list_targets()}
    assert (info["npu:qnn-htp-v75"].installed, info["npu:qnn-htp-v75"].isolated) == (False, "absent")
    assert info["cpu:onnxruntime"].isolated is None
    found = {finding.subject: finding for finding in api.doctor()}["npu:qnn-htp-v79"]
    assert (found.status, found.command) == ("optional", "edgepack setup npu:qnn-htp-v79")
    assert not api.remove_environment("npu:qnn-htp-v75")
    with pytest.raises(
        UsageError, match=r"cpu:onnxruntime needs no environment of its own.*installed already"
    ):
        api.set_up("cpu:onnxruntime")
    (qnn.ENVIRONMENT.folder).mkdir()
    (qnn.ENVIRONMENT.folder / STAMP_FILE).write_text(json.dumps({"lock": "of an older edgepack"}))
    found = {finding.subject: finding for finding in api.doctor()}["npu:qnn-htp-v79"]
    assert (found.status, found.detail) == ("warning", "isolated environment unfinished")
