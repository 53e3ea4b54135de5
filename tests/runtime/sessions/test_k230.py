"""The session for the K230's simulator: what it refuses to open, and a worker that dies, hangs or talks nonsense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.k230 import K230Session
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import SourceError, ToolchainFailedError, ToolchainMissingError, UsageError
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.vendors import k230
from tests.isolated import LOOP
from tests.k230_models import SIGNATURE, VERSION, pretend

FEED = {"x": np.zeros((1, 3, 16, 16), np.float32)}
GIVE = (
    "    np.savez(call['outputs'], {array})\n    print(json.dumps({{'ok': True, 'count': 1}}), flush=True)\n"
)
TWICE = LOOP + "    x = np.load(call['inputs'])['arr_0']\n" + GIVE.format(array="x[:, 0, 0, :10] + 2")


def built(folder: Path, **changed: object) -> Path:
    folder.mkdir(parents=True)
    path = folder / "main_k230.kmodel"
    path.write_bytes(b"LDMKcompiled")
    facts: dict[str, object] = {"inputs": ["x"], "outputs": ["y"], "version": VERSION}
    k230.note(path, {**facts, "kmodel": hash_file(path).sha256, **changed})
    return path


def test_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = "assert (request['inputs'], request['outputs']) == (1, 1) and os.path.isfile(request['kmodel'])\n"
    pretend(monkeypatch, tmp_path, check + TWICE)
    with K230Session(built(tmp_path / "out"), SIGNATURE) as session:
        for _ in range(2):
            assert session.run(FEED)["y"].tolist() == [[2.0] * 10]
        assert "not a device's" in str(session.profile(FEED).missing)
        with pytest.raises(UsageError, match="x"):
            session.run({})
    with pytest.raises(UsageError, match="closed"):
        session.run(FEED)


def test_the_environment_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    with pytest.raises(ToolchainMissingError, match=r"'k230' is absent.*edgepack setup"):
        K230Session(built(tmp_path / "out"), SIGNATURE)


def test_files_that_are_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, TWICE)
    with pytest.raises(SourceError, match="does not exist"):
        K230Session(tmp_path / "no.kmodel", SIGNATURE)
    alone = built(tmp_path / "alone")
    alone.with_suffix(".json").unlink()
    with pytest.raises(SourceError, match=r"main_k230\.json, which says what"):
        K230Session(alone, SIGNATURE)
    for text in ("[1]", "{}", "{", '"inputs"'):
        alone.with_suffix(".json").write_text(text)
        with pytest.raises(SourceError, match="cannot be used"):
            K230Session(alone, SIGNATURE)
    changed = built(tmp_path / "changed")
    changed.write_bytes(b"LDMKanother1")
    with pytest.raises(SourceError, match=r"belongs to another \.kmodel"):
        K230Session(changed, SIGNATURE)
    with pytest.raises(SourceError, match=r"was compiled by nncase 1\.0, and"):
        K230Session(built(tmp_path / "old", version="1.0"), SIGNATURE)
    with pytest.raises(SourceError, match="takes z and gives y, and the signature says otherwise"):
        K230Session(built(tmp_path / "other", inputs=["z"]), SIGNATURE)


@pytest.mark.parametrize("array", ["np.zeros(10)", "np.zeros((1, 10)), np.zeros((1, 10))"])
def test_arrays_that_are_not_the_signatures(
    array: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, LOOP + GIVE.format(array=array))
    with (
        K230Session(built(tmp_path / "out"), SIGNATURE) as session,
        pytest.raises(SourceError, match="The simulator gave arrays of"),
    ):
        session.run(FEED)


def test_a_simulator_that_is_ended_leaves_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = tmp_path / "shm"
    blocks.mkdir()
    names = ["3e3040106e0f4b6b85dce2a1b77b579", "e5c9327cf6b640ac8b2b603a863d0c1"]
    for name in (*names, "somebody-elses"):
        (blocks / name).write_bytes(b"x")
    simulator = tmp_path / k230.SIMULATOR
    simulator.write_text("#!/bin/sh\nsleep 600\n")
    simulator.chmod(0o755)
    started = tmp_path / "started"
    start = f"    import subprocess\n    child = subprocess.Popen([{str(simulator)!r}, *{names!r}, '25256', '1'])\n"
    note = f"    pathlib.Path({str(started)!r}).write_text(str(child.pid))\n    time.sleep(600)\n"
    pretend(monkeypatch, tmp_path, LOOP + start + note)
    monkeypatch.setattr(k230, "SHARED_MEMORY", blocks)
    monkeypatch.setattr("edgepack.runtime.sessions.k230.CALL_LIMIT_S", 5.0)
    with (
        pytest.raises(ToolchainFailedError, match="did not answer within 5 s"),
        K230Session(built(tmp_path / "out"), SIGNATURE) as session,
    ):
        session.run(FEED)
    assert [path.name for path in blocks.iterdir()] == ["somebody-elses"]
    state = Path("/proc", started.read_text(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"  # ended, whoever reaps it


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ("log.write_text('no memory'); os.abort()", "died. Its log ends with: no memory"),
        ("print('hello', flush=True)", "no answer: 'hello"),
        ("print(json.dumps({'ok': False, 'error': 'the file has 2 inputs'}), flush=True)", "has 2 inputs"),
        ("time.sleep(60)", "did not answer within 1 s"),
        (LOOP + "    os.abort()", "died"),
        (LOOP + "    time.sleep(60)", "did not answer within 1 s"),
    ],
)
def test_a_worker_that_lets_us_down(
    worker: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, worker + "\n")
    limit = 1.0 if "sleep" in worker else 60.0
    opening = limit if worker.startswith("time") else 60.0
    monkeypatch.setattr("edgepack.runtime.sessions.k230.OPEN_LIMIT_S", opening)
    monkeypatch.setattr("edgepack.runtime.sessions.k230.CALL_LIMIT_S", limit)
    with (
        pytest.raises(ToolchainFailedError, match=said),
        K230Session(built(tmp_path / "out"), SIGNATURE) as session,
    ):
        session.run(FEED)
