"""The rule about skips: allowed where a system package is missing, a failure in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.system("a-program-that-nobody-has")
def test_needs_a_package():
    raise AssertionError("it ran")

@pytest.mark.system("sh")
def test_has_its_package():
    pass

def test_skipped_for_another_reason():
    pytest.skip("not on this planet")
"""


@pytest.mark.parametrize(
    ("ci", "summary"),
    [
        ("", "1 passed, 2 skipped"),
        ("false", "1 passed, 2 skipped"),
        ("true", "1 passed, 1 skipped, 1 error"),
    ],
)
def test_a_missing_system_package_fails_in_ci(tmp_path: Path, ci: str, summary: str) -> None:
    here = Path(__file__)
    shutil.copy(here.with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        here.parents[1] / "pyproject.toml",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert summary in done.stdout, done.stdout + done.stderr
    assert done.returncode == (1 if "error" in summary else 0)
    assert "1 skipped: not on this planet" in done.stdout
    assert "missing system package: a-program-that-nobody-has" in done.stdout
    assert "it ran" not in done.stdout.replace('AssertionError("it ran")', "")


def test_the_real_things_are_there(minilm: Path, sentences: list[str], photos: list[object]) -> None:
    assert (minilm / "model.safetensors").stat().st_size > 80_000_000
    assert len(set(sentences)) == len(sentences) >= 900
    assert all(getattr(photo, "ndim", 0) == 3 for photo in photos)
