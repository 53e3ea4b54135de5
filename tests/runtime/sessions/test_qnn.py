"""The HTP session: what it refuses to open, and a worker that dies, hangs or talks nonsense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.qnn import QnnSession
from edgepack.toolchain.environments import ROOT_VARIABLE
from edgepack.toolchain.errors import SourceError, ToolchainFailedError, ToolchainMissingError, UsageError
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.vendors import qnn
from tests.isolated import LOOP
from tests.qnn_models import SIGNATURE, network, pretend

FEED = {"x": np.zeros((1, 3, 16, 16), np.float32)}
TWICE = LOOP + (
    "    assert call['names'] == ['x']\n"
    "    x = np.load(call['inputs'])['arr_0']\n"
    "    np.savez(call['outputs'], x[:, 0, 0, :10] + 2)\n"
    "    print(json.dumps({'ok': True, 'names': ['y']}), flush=True)\n"
)


def compiled(folder: Path, *, strict: bool = True) -> Path:
    path = network(folder).path
    binary = path.with_name("main_qnn.bin")
    binary.write_bytes(b"binary")
    facts = {"soc_model": "57", "htp_arch": "75", "strict": strict}
    qnn.note(path, facts | {"contexts": {binary.name: hash_file(binary).sha256}})
    return path


def with_numpy(code: str) -> str:
    """The worker is started with -I; the pretended interpreter finds its packages all the same."""
    return f"sys.path.append({str(Path(np.__file__).parents[1])!r})\n{code}"


@pytest.mark.parametrize("strict", [True, False])
def test_a_call(strict: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = f"assert request['fallback'] is {not strict}\nassert request['htp_arch'] == '75'\n"
    pretend(monkeypatch, tmp_path, with_numpy(check + TWICE))
    with QnnSession(compiled(tmp_path / "out", strict=strict), SIGNATURE) as session:
        for _ in range(2):
            assert session.run(FEED)["y"].tolist() == [[2.0] * 10]
        assert "not a device's" in str(session.profile(FEED).missing)
        with pytest.raises(UsageError, match="x"):
            session.run({})
    with pytest.raises(UsageError, match="closed"):
        session.run(FEED)


def test_the_environment_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    with pytest.raises(ToolchainMissingError, match=r"'qnn' is absent.*edgepack setup"):
        QnnSession(compiled(tmp_path / "out"), SIGNATURE)


def test_files_that_are_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, with_numpy(TWICE))
    with pytest.raises(SourceError, match="does not exist"):
        QnnSession(tmp_path / "no.onnx", SIGNATURE)
    with pytest.raises(SourceError, match="was not compiled for the HTP"):
        QnnSession(network(tmp_path / "plain").path, SIGNATURE)
    (tmp_path / "cut.onnx").write_bytes(compiled(tmp_path / "out").read_bytes()[:-40])
    with pytest.raises(SourceError, match="cannot be read"):
        QnnSession(tmp_path / "cut.onnx", SIGNATURE)
    path = compiled(tmp_path / "out")
    path.with_name("main_qnn.bin").write_bytes(b"another")
    with pytest.raises(SourceError, match=r"is not the one that main\.onnx was compiled with"):
        QnnSession(path, SIGNATURE)


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ("log.write_text('no device'); os.abort()", "died. Its log ends with: no device"),
        ("print('hello', flush=True)", "no answer: 'hello"),
        ("print(json.dumps({'ok': False, 'error': 'wrong chip'}), flush=True)", "failed: wrong chip"),
        ("time.sleep(60)", "did not answer within 1 s"),
        (LOOP + "    os.abort()", "died"),
        (
            LOOP + "    print(json.dumps({'ok': False, 'error': 'not supported'}), flush=True)",
            "failed: not supported",
        ),
        (LOOP + "    time.sleep(60)", "did not answer within 1 s"),
    ],
)
def test_a_worker_that_lets_us_down(
    worker: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, with_numpy(worker + "\n"))
    limit = 1.0 if "sleep" in worker else 60.0
    opening = limit if worker.startswith("time") else 60.0
    monkeypatch.setattr("edgepack.runtime.sessions.qnn.OPEN_LIMIT_S", opening)
    monkeypatch.setattr("edgepack.runtime.sessions.qnn.CALL_LIMIT_S", limit)
    with (
        pytest.raises(ToolchainFailedError, match=said),
        QnnSession(compiled(tmp_path / "out"), SIGNATURE) as session,
    ):
        session.run(FEED)
