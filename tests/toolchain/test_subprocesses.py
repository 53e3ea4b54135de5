"""Where processes of Python's own import from."""

import sys

import pytest

from edgepack.toolchain.subprocesses import run_tool


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks into the current folder")
def test_nothing_is_imported_from_the_current_folder(tmp_path):
    (tmp_path / "colorsys.py").write_text("raise SystemExit('run from where the user happened to be')")
    command = [sys.executable, "-c", "import colorsys; print(colorsys.__file__)"]
    done = run_tool("Python", command, time_limit_s=60, cwd=tmp_path)
    assert str(tmp_path) not in done.stdout
