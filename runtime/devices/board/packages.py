"""ONNX Runtime for 64-bit ARM, and numpy for a board with Python: wheels that pip fetches, or that were given."""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edgepack.runtime.devices.board.userland import PYTHON_VERSION
from edgepack.runtime.devices.native.library import library
from edgepack.toolchain.errors import ToolchainFailedError, UsageError
from edgepack.toolchain.subprocesses import run_tool

ONNXRUNTIME, NUMPY = "onnxruntime", "numpy"
MACHINE = "aarch64"
_PLATFORM = f"manylinux_2_28_{MACHINE}"
_LIMIT_S = 1800.0


def fetch(names: Sequence[str], folder: Path) -> list[Path]:
    """Fetch wheels for 64-bit ARM with pip, by this machine's own settings of it.

    Args:
        names: Requirements, such as "onnxruntime==1.23.2".
        folder: Where to.

    Raises:
        ToolchainFailedError: pip cannot get them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--platform", _PLATFORM, "--python-version", PYTHON_VERSION, "--only-binary=:all:", "--no-deps"]
    run_tool(
        "pip",
        [sys.executable, "-m", "pip", "download", "--quiet", *words, "--dest", str(folder), *names],
        time_limit_s=_LIMIT_S,
        cwd=folder,
    )
    found = [given_in(folder, name.partition("=")[0]) for name in names]
    if None in found:
        raise ToolchainFailedError("pip ended without an error and left no wheel", where=", ".join(names))
    return [wheel for wheel in found if wheel is not None]


def given_in(folder: Path, name: str) -> Path | None:
    """The wheel for 64-bit ARM of a package in a folder; the newest by its name, None where there is none."""
    return max(folder.glob(f"{name}-*{MACHINE}.whl"), default=None)


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel for 64-bit ARM.

    Raises:
        UsageError: It is no such wheel.
    """
    if not wheel.name.endswith(f"{MACHINE}.whl") or not zipfile.is_zipfile(wheel):
        raise UsageError(
            "The file is no wheel for 64-bit ARM with Linux",
            where=str(wheel),
            todo=f"Name one whose name ends in {MACHINE}.whl",
        )
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder)


def runtime(given: Path, folder: Path) -> Path:
    """ONNX Runtime's shared library out of a wheel, into `folder`.

    Raises:
        UsageError: It is no library, or one for another processor.
    """
    return library(MACHINE, given, folder)


def version_of(wheel: Path) -> str:
    """What a wheel's name says; "unknown" for another file."""
    parts = wheel.name.split("-")
    return parts[1] if wheel.suffix == ".whl" and len(parts) > 1 else "unknown"


def own_version(name: str) -> str:
    """This machine's version of a package, so that the board's outputs compare; empty where it has none."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return ""
