"""Building the library: what is missing is named, and a build that fails leaves the old library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepack.runtime.kernels import build


def programs(folder: Path, *names: str) -> None:
    folder.mkdir()
    for name in names:
        program = folder / name
        program.write_text("#!/bin/sh\necho this machine is out of luck >&2\nexit 1\n")
        program.chmod(0o755)


@pytest.mark.parametrize(
    ("there", "missing"),
    [((), "cmake"), (("g++",), "cmake"), (("cmake",), "a C++ compiler"), (("cmake", "c++"), None)],
)
def test_what_a_build_needs_is_named(
    there: tuple[str, ...], missing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", *there)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    assert build.what_is_missing() == missing
    if missing:
        with pytest.raises(build.BuildError, match=f"there is no {missing.replace('+', '.')}"):
            build.build(tmp_path / "lib.so")


def test_a_failed_build_says_why_and_leaves_the_old_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", "cmake", "c++")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "lib.so").write_text("old")
    with pytest.raises(build.BuildError, match=r"cmake -S failed:\nthis machine is out of luck"):
        build.build(tmp_path / "lib.so")
    assert (tmp_path / "lib.so").read_text() == "old"


def test_the_command_fails_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgepack.runtime.kernels.build"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(tmp_path)}
    )
    assert done.returncode == 1
    assert done.stderr == "edgepack: the native kernels cannot be built: there is no cmake\n"
