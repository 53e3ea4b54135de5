"""ONNX Runtime's library: found here, unpacked from archives, and for the right processor."""

from __future__ import annotations

import os
import struct
import zipfile

import pytest

from edgepack.runtime.devices.native import library
from edgepack.toolchain.errors import ToolchainMissingError, UsageError

HERE = os.uname().machine


def elf(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(44)


def test_this_machine_s_own(tmp_path):
    found = library.library(HERE, None, tmp_path)
    assert found.name.startswith("libonnxruntime.so.1")
    assert library.machine_of(found) == HERE


def test_an_android_archive_has_one_for_each_processor(tmp_path):
    archive = tmp_path / "onnxruntime.aar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("jni/x86_64/libonnxruntime.so", elf(62))
        file.writestr("jni/arm64-v8a/libonnxruntime4j_jni.so", b"junk")
        file.writestr("jni/arm64-v8a/libonnxruntime.so", elf(183))
    assert library.library("aarch64", archive, tmp_path, android=True).read_bytes() == elf(183)


def test_a_wheel_holds_a_version_in_its_name(tmp_path):
    wheel = tmp_path / "onnxruntime-1-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("onnxruntime/capi/libonnxruntime_providers_shared.so", b"junk")
        file.writestr("onnxruntime/capi/libonnxruntime.so.1.31.1", elf(183))
    assert library.library("aarch64", wheel, tmp_path).read_bytes() == elf(183)
    with pytest.raises(UsageError, match="for aarch64, and the device has x86_64"):
        library.library("x86_64", wheel, tmp_path)


@pytest.mark.parametrize(
    ("android", "said"), [(False, "manylinux_2_28_riscv64"), (True, "onnxruntime-android")]
)
def test_none_that_fits(tmp_path, android, said):
    with pytest.raises(ToolchainMissingError, match=said):
        library.library("riscv64", None, tmp_path, android=android)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("readme", "x")
    with pytest.raises(UsageError, match=r"holds no libonnxruntime\.so"):
        library.library(HERE, tmp_path / "x.zip", tmp_path)
