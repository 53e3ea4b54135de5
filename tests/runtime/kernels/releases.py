"""Releases of ONNX Runtime, each in a folder of its own that goes before the environment's packages.

A folder is made once, with pip, and kept in `build/onnxruntime`. Older releases were compiled for numpy 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import MISSING_PACKAGE

# The oldest that can serve, one from each year since, and what numpy they want
RELEASES = {
    "1.17.3": "numpy<2",
    "1.19.2": "numpy",
    "1.22.1": "numpy",
    "1.26.0": "numpy",
    "1.29.0": "numpy",
}
PLACE = Path(__file__).parents[3] / "build" / "onnxruntime"
_LIMIT = 600


def folder_of(release: str) -> Path:
    """The release's folder; where it cannot be installed the test is skipped, or fails in CI."""
    folder = PLACE / f"{release}-{sys.implementation.cache_tag}"
    if not folder.is_dir():
        PLACE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=PLACE) as fresh:
            wanted = [f"onnxruntime=={release}"]
            if RELEASES[release] != "numpy":  # else the environment's own numpy serves
                wanted.append(RELEASES[release])
            _install(release, Path(fresh) / "made", wanted)
            shutil.move(Path(fresh) / "made", folder)
    return folder


def environment_of(release: str) -> dict[str, str]:
    """The environment of a Python that imports the release."""
    return {**os.environ, "PYTHONPATH": str(folder_of(release))}


def _install(release: str, folder: Path, wanted: list[str]) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--no-compile", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, "--target", folder, *wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT)
        reason = "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        pytest.skip(f"{MISSING_PACKAGE}: onnxruntime {release} for this Python ({reason})")
