"""Targets built in processes side by side: what fails, what dies, what memory allows, and what Ctrl-C leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgepack
from edgepack.targets.base import targets
from edgepack.toolchain.events import Event
from edgepack.toolchain.pipeline import members
from tests.toolchain.pipeline.side_by_side import MODULE, alive, pids
from tests.toolchain.plugins.packages import ROOT, fake

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc"),
]


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """A package of targets, installed for this process and for those that it starts; where they leave notes."""
    folder = tmp_path / "notes"
    folder.mkdir()
    site = tmp_path / "site"
    fake(site, "acme_side_by_side", MODULE)
    monkeypatch.setenv("ACME_NOTES", str(folder))
    paths = os.pathsep.join(filter(None, [str(ROOT), str(site), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", paths)
    known = dict(targets.items())
    scope: dict[str, object] = {"__name__": "acme_side_by_side"}
    exec(compile(MODULE, "acme_side_by_side.py", "exec"), scope)  # noqa: S102 - registers in this process
    added = {name: kind for name, kind in targets.items() if name not in known}
    targets._found |= added
    yield folder
    for name in added:
        del targets._members[name], targets._found[name]


def export(model, out, cache, *names, **options):
    wanted = [f"cpu:{name}" for name in names]
    return edgepack.export(
        model, targets=wanted, out=out, cache=cache, jobs=2, check=False, measure=False, **options
    )


def test_one_failure_hides_no_other_result(model, tmp_path, cache, notes):
    events: list[Event] = []
    names = ("good", "crashes", "odd", "refuses", "better")
    bundle = export(model, tmp_path / "out", cache, *names, listener=events.append)
    assert [artifact.target for artifact in bundle.artifacts] == ["cpu:good", "cpu:better"]
    assert all(artifact.parity.passed for artifact in bundle.artifacts)
    failures = {failure.target[4:]: failure for failure in bundle.failures}
    assert {name: failure.exit_code for name, failure in failures.items()} == {
        "crashes": 4,
        "odd": 1,
        "refuses": 4,
    }
    assert "ended with signal 6" in failures["crashes"].error
    assert "ValueError: odd" in failures["odd"].error
    assert "the vendor said no" in failures["refuses"].error
    # none of it in this process, and nothing that failed was tried a second time
    assert os.getpid() not in pids(notes)
    assert len(list(notes.iterdir())) == len(names)
    # every stage is told once, by whoever did it, and none stays open
    stages = [(s.name, s.target) for s in bundle.manifest.stages]
    assert len(stages) == len(set(stages))
    assert ("compile", "cpu:good") in stages
    assert not next(
        s for s in bundle.manifest.stages if s.target == "cpu:good" and s.name == "compile"
    ).cached
    ends = [event for event in events if event.kind in {"end", "left"}]
    assert len([event for event in events if event.kind == "begin"]) == len(ends)
    assert edgepack.verify(tmp_path / "out").ok
    # what is in the cache needs no process; what failed is tried again
    again = export(model, tmp_path / "again", cache, "good", "better")
    assert members.STAGE not in {stage.name for stage in again.manifest.stages}
    assert len(again.artifacts) == 2


def test_one_that_is_killed_beside_another_is_tried_again_alone(model, tmp_path, cache, notes):
    bundle = export(model, tmp_path / "out", cache, "dies-once", "waits")
    assert not bundle.failures
    assert len(bundle.artifacts) == 2
    assert any("cpu:dies-once: the memory did not hold it" in text for text in bundle.manifest.warnings)
    assert len(pids(notes, "dies-once")) == 2


def test_where_memory_runs_out_the_youngest_waits(model, tmp_path, cache, notes, monkeypatch):
    monkeypatch.setattr(members, "free_bytes", lambda: 0)
    bundle = export(model, tmp_path / "out", cache, "slow-a", "slow-b")
    assert not bundle.failures
    assert len(bundle.artifacts) == 2
    (warning,) = [text for text in bundle.manifest.warnings if "the memory did not hold it" in text]
    assert warning.startswith("cpu:slow-b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_after_the_run(model, tmp_path, notes, number):
    """Ctrl-C ends workers and the tools that they started; so does the death of the run itself."""
    words = ["export", str(model), "--target", "cpu:hangs-a,cpu:hangs-b", "--no-measure", "--jobs", "2"]
    run = subprocess.Popen(
        # Where tests run in the background, SIGINT is ignored, and what they start inherits that.
        ["env", "--default-signal=INT", sys.executable, "-m", "edgepack", *words, "--out", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 200
        while len(pids(notes, "tool")) < 2 and time.monotonic() < end and run.poll() is None:
            time.sleep(0.05)
        started = pids(notes)
        assert len(started) == 4, "two workers and a tool of each"
        run.send_signal(number)
        _, said = run.communicate(timeout=30)
        assert run.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), said
    finally:
        run.kill()
        run.communicate()
    end = time.monotonic() + 10
    while any(map(alive, started)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in started if alive(pid)] == []
    assert not Path(tmp_path / "out").exists()
