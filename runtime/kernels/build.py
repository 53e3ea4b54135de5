"""Builds the library of native operators with CMake: `python -m edgepack.runtime.kernels.build`.

The package's own build (`setup.py`) loads this file by its path, before anything is installed: it
uses the standard library alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
_LIMIT = 900  # seconds for one command
_COMPILERS = ("c++", "g++", "clang++")


class BuildError(Exception):
    """The library could not be built; the text is one paragraph for the user."""


def what_is_missing() -> str | None:
    """The program that a build needs and this machine lacks, in words; None if a build can be tried."""
    if sys.platform not in ("linux", "darwin"):
        return f"a system that the native kernels are written for (this one is {sys.platform})"
    if shutil.which("cmake") is None:
        return "cmake"
    if os.environ.get("CXX") or any(shutil.which(name) for name in _COMPILERS):
        return None
    return "a C++ compiler"


def build(library: Path, *options: str) -> Path:
    """Build and write the file `library`; `options` go to CMake (`-DNAME=VALUE`).

    Raises:
        BuildError: A program is missing, or one of them failed.
    """
    try:
        return make(SOURCES, ("libedgepack_kernels.so", "libedgepack_kernels.dylib"), library, *options)
    except BuildError as error:
        raise BuildError(f"the native kernels cannot be built: {error}") from error


def make(sources: Path, names: tuple[str, ...], target: Path, *options: str) -> Path:
    """Build a folder of sources with CMake, and write that one of `names` that was made to `target`.

    Raises:
        BuildError: A program is missing, or one of them failed.
    """
    if missing := what_is_missing():
        raise BuildError(f"there is no {missing}")
    with tempfile.TemporaryDirectory(prefix="edgepack-build-") as folder:
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        _run("cmake", "-S", str(sources), "-B", folder, *generator, *options)
        _run("cmake", "--build", folder)
        (made,) = [path for name in names if (path := Path(folder, name)).is_file()]
        target.parent.mkdir(parents=True, exist_ok=True)
        # Replaced in one step, as a new file: a process that has the old one mapped keeps it.
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy(made, beside)
        beside.replace(target)
    return target


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own cmake, no shell
            command, capture_output=True, text=True, check=False, timeout=_LIMIT, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(str(error)) from error
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise BuildError(f"{' '.join(command[:2])} failed:\n{last}")


if __name__ == "__main__":
    from edgepack.runtime.kernels import library_name

    try:
        print(build(SOURCES / library_name(), *sys.argv[1:]))  # noqa: T201 - the command's answer
    except BuildError as error:
        sys.exit(f"edgepack: {error}")
