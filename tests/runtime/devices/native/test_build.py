"""The program for other processors and systems: built here, run on an emulated processor."""

from __future__ import annotations

import json
import subprocess

import pytest

from edgepack.runtime.devices.native import build, library
from edgepack.runtime.devices.native.request import GLOBS, Request
from edgepack.runtime.kernels.build import what_is_missing
from edgepack.toolchain.errors import ToolchainFailedError, UsageError
from tests.conftest import program_of
from tests.runtime.devices.runner.boards import phone

REQUEST = Request("./none.so", "", 1, "/", GLOBS, (), (), ())
SYSTEM = "/usr/aarch64-linux-gnu"


@pytest.fixture(scope="module", autouse=True)
def compiler():
    if missing := what_is_missing():
        pytest.skip(f"the runner cannot be built: there is no {missing}")


@pytest.fixture(scope="module")
def program():
    return build.runner("aarch64")


def emulated(program, *words, cwd):
    command = [program_of("qemu-user-static"), "-L", SYSTEM, program, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.system("g++-aarch64-linux-gnu", "qemu-user-static")
def test_64_bit_arm(program, tmp_path):
    """It starts there, reads the request, and says that the library is missing."""
    assert library.machine_of(program) == "aarch64"
    assert build.runner("aarch64").stat().st_mtime_ns == program.stat().st_mtime_ns, "it is kept"
    (tmp_path / "request.bin").write_bytes(REQUEST.packed())
    done = emulated(program, "check", "request.bin", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert not answer["ok"]
    assert "ONNX Runtime cannot be loaded: ./none.so" in answer["what"]


@pytest.mark.system("g++-aarch64-linux-gnu", "qemu-user-static")
def test_requests_that_are_none(program, tmp_path):
    """Cut anywhere, or with a length that cannot be: an answer in words, never a crash."""
    whole = Request("./none.so", "", 1, str(phone(tmp_path / "phone")), GLOBS, (), (), ()).packed()
    broken = [whole[:end] for end in range(0, len(whole), 61)]
    broken += [whole + b"x", b"EDGEPACK" + (2).to_bytes(4, "little") + whole[12:]]
    broken += [whole[:12] + b"\xff\xff\xff\xff" + whole[16:], b""]
    for content in broken:
        (tmp_path / "request.bin").write_bytes(content)
        done = emulated(program, "measure", "request.bin", cwd=tmp_path)
        assert done.returncode == 0, (content, done.stderr)
        answer = json.loads((tmp_path / "answer.json").read_text())
        assert "request" in answer["what"], (content, answer)
    done = emulated(program, "sing", "request.bin", cwd=tmp_path)
    assert done.returncode == 2


def test_android_s_kit_is_used_by_its_toolchain_file(tmp_path):
    with pytest.raises(UsageError, match=r"not Android's native development kit.*android\.toolchain\.cmake"):
        build.runner("aarch64", ndk=tmp_path)
    file = tmp_path / "build" / "cmake" / "android.toolchain.cmake"
    file.parent.mkdir(parents=True)
    file.write_text('message(FATAL_ERROR "asked for ${ANDROID_ABI} ${ANDROID_PLATFORM} ${ANDROID_STL}")')
    with pytest.raises(ToolchainFailedError, match="asked for arm64-v8a android-28 c"):
        build.runner("aarch64", ndk=tmp_path)


def test_other_processors():
    with pytest.raises(UsageError, match="no runner for the processor riscv64"):
        build.runner("riscv64")
