"""The session for Rockchip's simulator: what it refuses to open, and a worker that dies, hangs or talks nonsense."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.rknn import RknnSession
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import SourceError, ToolchainFailedError, ToolchainMissingError, UsageError
from edgepack.toolchain.vendors import rknn
from tests.isolated import LOOP
from tests.rknn_models import SIGNATURE, VERSION, network, pretend

FEED = {"x": np.zeros((1, 3, 16, 16), np.float32)}
GIVE = (
    "    np.savez(call['outputs'], {array})\n    print(json.dumps({{'ok': True, 'count': 1}}), flush=True)\n"
)
TWICE = LOOP + "    x = np.load(call['inputs'])['arr_0']\n" + GIVE.format(array="x[:, 0, 0, :10] + 2")


def built(folder: Path, **changed: object) -> Path:
    source = network(folder).path
    facts: dict[str, object] = {"platform": "rk3588", "dtype": None, "config": {}, "model": source.name}
    facts |= {"inputs": ["x"], "floats": [], "rknn": "0", "version": VERSION}
    path = folder / "main_rk3588_host-check.zip"
    rknn.pack(path, facts | changed, [source])
    return path


def test_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = "assert request['platform'] == 'rk3588' and pathlib.Path(request['model']).is_file()\n"
    pretend(monkeypatch, tmp_path, check + TWICE)
    with RknnSession(built(tmp_path / "out"), SIGNATURE) as session:
        for _ in range(2):
            assert session.run(FEED)["y"].tolist() == [[2.0] * 10]
        assert "not a device's" in str(session.profile(FEED).missing)
        with pytest.raises(UsageError, match="x"):
            session.run({})
    with pytest.raises(UsageError, match="closed"):
        session.run(FEED)


def test_the_environment_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    with pytest.raises(ToolchainMissingError, match=r"'rknn' is absent.*edgepack setup"):
        RknnSession(built(tmp_path / "out"), SIGNATURE)


def test_files_that_are_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, TWICE)
    with pytest.raises(SourceError, match="does not exist"):
        RknnSession(tmp_path / "no.zip", SIGNATURE)
    with pytest.raises(SourceError, match="is no build for a Rockchip NPU"):
        RknnSession(network(tmp_path / "plain").path, SIGNATURE)
    whole = built(tmp_path / "out")
    (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(SourceError, match="is no build"):
        RknnSession(tmp_path / "cut.zip", SIGNATURE)
    changed = bytearray(whole.read_bytes())
    changed[len(changed) // 2] ^= 255
    (tmp_path / "changed.zip").write_bytes(changed)
    with pytest.raises(SourceError, match="is no build"):
        RknnSession(tmp_path / "changed.zip", SIGNATURE)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("build.json", "{}")
    with pytest.raises(SourceError, match="is no build"):
        RknnSession(tmp_path / "other.zip", SIGNATURE)
    with pytest.raises(SourceError, match=r"was built by rknn-toolkit2 1\.0, and"):
        RknnSession(built(tmp_path / "old", version="1.0"), SIGNATURE)


@pytest.mark.parametrize("array", ["np.zeros(9)", "np.zeros(10), np.zeros(10)"])
def test_arrays_that_are_not_the_signatures(
    array: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, LOOP + GIVE.format(array=array))
    with (
        RknnSession(built(tmp_path / "out"), SIGNATURE) as session,
        pytest.raises(SourceError, match="The simulator gave arrays of"),
    ):
        session.run(FEED)


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ("log.write_text('no memory'); os.abort()", "died. Its log ends with: no memory"),
        ("print('hello', flush=True)", "no answer: 'hello"),
        (
            "print(json.dumps({'ok': False, 'error': 'build returned -1'}), flush=True)",
            "failed: build returned",
        ),
        ("time.sleep(60)", "did not answer within 1 s"),
        (LOOP + "    os.abort()", "died"),
        (LOOP + "    print(json.dumps({'ok': False, 'error': 'no'}), flush=True)", "failed: no"),
        (LOOP + "    print(json.dumps({'ok': True}), flush=True)", "gave no arrays that can be read"),
        (LOOP + "    time.sleep(60)", "did not answer within 1 s"),
    ],
)
def test_a_worker_that_lets_us_down(
    worker: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, worker + "\n")
    limit = 1.0 if "sleep" in worker else 60.0
    opening = limit if worker.startswith("time") else 60.0
    monkeypatch.setattr("edgepack.runtime.sessions.rknn.OPEN_LIMIT_S", opening)
    monkeypatch.setattr("edgepack.runtime.sessions.rknn.CALL_LIMIT_S", limit)
    with (
        pytest.raises(ToolchainFailedError, match=said),
        RknnSession(built(tmp_path / "out"), SIGNATURE) as session,
    ):
        session.run(FEED)
