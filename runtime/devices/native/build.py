"""Builds the runner for a device's processor and system, once: what was built is kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgepack.runtime.kernels import library_path
from edgepack.runtime.kernels.build import SOURCES as KERNELS
from edgepack.runtime.kernels.build import BuildError, make
from edgepack.runtime.kernels.build_aarch64 import compilers, toolchain
from edgepack.toolchain.cache import default_root
from edgepack.toolchain.errors import ToolchainFailedError, UsageError

SOURCES = Path(__file__).resolve().parent
PROGRAM, LIBRARY = "edgepack_runner", "libedgepack_kernels.so"
MACHINES = ("x86_64", "aarch64")
_ANDROID = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
_ANDROID_API = 28  # Android 9: the first whose C library has glob(3)


def runner(machine: str, *, ndk: Path | None = None) -> Path:
    """The runner's program for a device.

    Args:
        machine: Its processor as `uname -m` names it.
        ndk: Android's native development kit, for a device with Android.

    Raises:
        UsageError: There is none for that processor, or the folder is no NDK.
        ToolchainFailedError: It cannot be built.
    """
    return _built(SOURCES, PROGRAM, machine, ndk)


def kernels(machine: str, *, ndk: Path | None = None) -> Path:
    """The library of native operators for a device: this installation's own where it fits, else one that is built."""
    own = library_path()
    if ndk is None and machine == os.uname().machine and own.is_file():
        return own
    return _built(KERNELS, LIBRARY, machine, ndk)


def _built(sources: Path, name: str, machine: str, ndk: Path | None) -> Path:
    if machine not in MACHINES:
        raise UsageError(
            f"There is no runner for the processor {machine}; there is one for {', '.join(MACHINES)}",
            todo="Install Python with onnxruntime on the device, and leave --runner out",
        )
    place = default_root() / "runners" / _key(sources, machine, ndk) / name
    if place.is_file():
        return place
    try:
        with _options(machine, ndk) as options:
            return make(sources, (name,), place, *options)
    except BuildError as error:
        raise ToolchainFailedError(
            f"The runner for {machine} cannot be built: {error}",
            todo="Install cmake and a C++ compiler for it (pip install ziglang brings one for 64-bit ARM)",
        ) from error


@contextlib.contextmanager
def _options(machine: str, ndk: Path | None) -> Iterator[tuple[str, ...]]:
    if ndk is not None:
        yield _android(machine, ndk)
    elif machine == os.uname().machine:
        yield ()
    elif machine == "aarch64":
        with toolchain() as options:
            yield options
    else:
        raise BuildError(f"there is no cross compiler here for {machine}")


def _android(machine: str, ndk: Path) -> tuple[str, ...]:
    """Options for CMake, by the toolchain file that the kit brings."""
    file = ndk / "build" / "cmake" / "android.toolchain.cmake"
    if not file.is_file():
        raise UsageError(
            "The folder is not Android's native development kit",
            where=f"--ndk {ndk}",
            todo=f"Name the one that holds {file.relative_to(ndk)}",
        )
    return (
        f"-DCMAKE_TOOLCHAIN_FILE={file.resolve()}",
        f"-DANDROID_ABI={_ANDROID[machine]}",
        f"-DANDROID_PLATFORM=android-{_ANDROID_API}",
        "-DANDROID_STL=c++_static",
    )


def _key(sources: Path, machine: str, ndk: Path | None) -> str:
    """Of everything that the program is made from."""
    found = hashlib.sha256()
    for folder in sorted({sources, KERNELS}):
        for file in sorted([folder / "CMakeLists.txt", *(folder / "src").iterdir()]):
            found.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    compiler = str(ndk.resolve()) if ndk else str(_compiler(machine))
    found.update(f"{machine}\0{compiler}".encode())
    return found.hexdigest()[:16]


def _compiler(machine: str) -> str | None:
    if machine == os.uname().machine:
        return os.environ.get("CXX") or shutil.which("c++")
    return next(iter(compilers()), None)
