"""Workers as forks of a prepared process: what they print, how they end, and that none stays behind."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgepack.toolchain.errors import ToolchainFailedError, ToolchainStoppedError
from edgepack.toolchain.forked import Forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

PREPARED = """
import os
made = []
def prepare():
    made.append(os.getpid())
    {}
"""
WORKER = """
import json, os, pathlib, subprocess, sys, time
import prepared
where = pathlib.Path(sys.argv[1])
def done(**more):
    where.write_text(json.dumps({"server": prepared.made, "own": os.getpid(), "folder": os.getcwd(), **more}))
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the two modules, and gives a runner; whatever waits then is ended."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    runner = Forked("prepared")

    def make(code: str, preparation: str = "pass") -> Forked:
        (tmp_path / "prepared.py").write_text(PREPARED.format(preparation))
        (tmp_path / "a_worker.py").write_text(WORKER + code)
        return runner

    yield make
    runner.close()


def run(runner: Forked, folder: Path, *, time_limit_s: float = 60) -> dict[str, Any]:
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    runner.run("a tool", "a_worker", str(answer), time_limit_s=time_limit_s, cwd=folder, expect=[answer])
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def test_two_workers_have_one_preparation_and_see_nothing_of_each_other(modules, tmp_path: Path) -> None:
    runner = modules("prepared.made.append('mine')\ndone()")
    first, second = run(runner, tmp_path), run(runner, tmp_path)
    assert first["server"] == second["server"]
    assert first["own"] != second["own"]
    assert first["folder"] == str(tmp_path)


def test_a_process_with_many_open_files_hears_its_workers(modules, tmp_path: Path) -> None:
    """As a server has that edgepack is embedded in; `select` takes no descriptor from 1024 on."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip(f"a process may open {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert run(modules("done()"), tmp_path)["folder"] == str(tmp_path)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_another_environment_has_a_preparation_of_its_own(
    modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = modules("done(seen=os.environ.get('EDGEPACK_SEEN'))")
    first = run(runner, tmp_path)
    monkeypatch.setenv("EDGEPACK_SEEN", "yes")
    second = run(runner, tmp_path)
    assert (first["seen"], second["seen"]) == (None, "yes")
    assert first["server"] != second["server"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.abort()", "a tool failed with signal 6"),
        ("sys.exit('no memory')", "exit code 1. Its last words: no memory"),
        ("raise ValueError('so it goes')", "exit code 1.*ValueError: so it goes"),
        ("subprocess.run(['sh', '-c', 'echo of a child; exit 1'], check=True)", "of a child"),
        ("print('all is well')", "did not write answer.json. Its last words: all is well"),
    ],
)
def test_a_worker_that_fails_is_not_the_end(code: str, said: str, modules, tmp_path: Path) -> None:
    runner = modules(code)
    for _ in range(2):
        with pytest.raises(ToolchainFailedError, match=said):
            run(runner, tmp_path)


def test_a_worker_that_hangs_is_ended_with_what_it_started(modules, tmp_path: Path) -> None:
    child = tmp_path / "child"
    runner = modules(
        f"started = subprocess.Popen(['sleep', '600'])\npathlib.Path({str(child)!r}).write_text(str(started.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(ToolchainStoppedError, match="did not finish within 3 s"):
        run(runner, tmp_path, time_limit_s=3)
    assert _gone(int(child.read_text()))


def test_a_preparation_that_fails_leaves_a_worker_as_ever(modules, tmp_path: Path) -> None:
    runner = modules("prepared.prepare = None\ndone()", preparation="raise ImportError('no such toolchain')")
    assert run(runner, tmp_path)["server"] == []


def test_nothing_waits_after_the_end(modules, tmp_path: Path) -> None:
    runner = modules("done()")
    server = run(runner, tmp_path)["server"][0]
    assert psutil.pid_exists(server)
    runner.close()
    assert _gone(server)
    assert run(runner, tmp_path)["server"] != [server]  # and it can be asked again


def _gone(pid: int) -> bool:
    """Whether a process has ended, some time from now at the latest."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False
