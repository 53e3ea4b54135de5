"""One file that a device's Python runs, packed from the modules that it needs; the same bytes every time."""

from __future__ import annotations

import zipfile
from pathlib import Path

NAME = "runner.pyz"
SESSIONS = ("litert", "onnxruntime")
"""Sessions that work with the runtime and numpy alone."""
_ROOT = Path(__file__).parents[3]
_MODULES = (
    "runtime/__init__.py",
    "runtime/_cpu.py",
    "runtime/_memory_child.py",
    "runtime/_timing_steps.py",
    "runtime/environment.py",
    "runtime/statistics.py",
    "runtime/devices/__init__.py",
    "runtime/devices/runner",
    "runtime/sessions/__init__.py",
    "runtime/sessions/_inputs.py",
    "runtime/sessions/_onnxruntime_load.py",
    "runtime/sessions/base.py",
    *(f"runtime/sessions/{name}.py" for name in SESSIONS),
    "toolchain/__init__.py",
    "toolchain/answers.py",
    "toolchain/errors.py",
    "toolchain/files.py",
    "toolchain/links.py",
    "toolchain/program.py",
    "toolchain/registry.py",
    "toolchain/tflite.py",
)
_MAIN = b"""import sys

if sys.version_info < (3, 10):
    sys.exit("edgepack's runner needs Python 3.10 or newer, and this is %d.%d" % sys.version_info[:2])
from edgepack.runtime.devices.runner.main import main

main()
"""
# Dates would make the same runner another file, which would be sent again.
_DATE = (1980, 1, 1, 0, 0, 0)


def write(path: Path) -> None:
    """Write the runner to `path`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN)
        _add(archive, "edgepack/__init__.py", b"")
        for name in _MODULES:
            place = _ROOT / name
            for file in [place] if place.is_file() else sorted(place.glob("*.py")):
                _add(archive, f"edgepack/{file.relative_to(_ROOT).as_posix()}", file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
