"""ONNX Runtime's shared library for a device: as it is, or out of a wheel, an Android archive or a zip file."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from importlib.util import find_spec
from pathlib import Path

from edgepack.toolchain.errors import ToolchainMissingError, UsageError

NAME = "libonnxruntime.so"
# e_machine of the ELF header (ELF-64 Object File Format, and the processors' supplements to it)
_ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
_ANDROID = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
_MEMBER = re.compile(r"(?:^|/)libonnxruntime\.so(?:\.[0-9.]+)?$")


def library(machine: str, given: Path | None, folder: Path, *, android: bool = False) -> Path:
    """The library, as a file that can be sent.

    Args:
        machine: The device's processor as `uname -m` names it.
        given: A shared library, or an archive that holds one; None for this machine's own, where it fits.
        folder: Where it goes when it is unpacked.
        android: Whether the device has Android, whose C library is another.

    Raises:
        ToolchainMissingError: None was given, and this machine's own does not fit.
        UsageError: It is no library, or one for another processor.
    """
    path = _own(machine) if given is None and not android else given
    if path is None:
        system = "Android" if android else f"Linux on {machine}"
        how = (
            "the archive onnxruntime-android of Maven Central"
            if android
            else "the wheel that this fetches: pip download onnxruntime --no-deps --only-binary=:all: "
            f"--platform manylinux_2_28_{machine}"
        )
        raise ToolchainMissingError(
            f"ONNX Runtime's library for {system} is needed", todo=f"Name it with --onnxruntime: {how}"
        )
    if not path.is_file():
        raise UsageError("There is no such file", where=f"--onnxruntime {path}")
    if zipfile.is_zipfile(path):
        path = _unpacked(path, machine, folder)
    found = machine_of(path)
    if found != machine:
        raise UsageError(
            f"The library is for {found or 'no processor that is known here'}, and the device has {machine}",
            where=f"--onnxruntime {path}",
        )
    return path


def machine_of(path: Path) -> str | None:
    """The processor of a shared library; None for another file."""
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":  # noqa: PLR2004 - the header's part that is read
        return None
    return _ELF_MACHINES.get(struct.unpack_from("<H", head, 18)[0])


def _own(machine: str) -> Path | None:
    """That of the onnxruntime which is installed here; looked up without importing it."""
    spec = find_spec("onnxruntime")
    if machine != os.uname().machine or spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "capi").glob(f"{NAME}.*"))), None)


def _unpacked(archive: Path, machine: str, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if _MEMBER.search(name)]
        # An Android archive has one for each processor.
        fitting = [name for name in names if f"/{_ANDROID.get(machine)}/" in name] or names
        if not fitting:
            raise UsageError(f"The archive holds no {NAME}", where=f"--onnxruntime {archive}")
        target = folder / NAME
        with opened.open(fitting[0]) as source, target.open("wb") as out:
            while block := source.read(1 << 20):
                out.write(block)
    return target
