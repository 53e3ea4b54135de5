"""What workers leave in their temporary folder is gone with them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.vendors.isolated_worker import Conversation, Worker
from tests import isolated

_LITTER = f"""
sys.path.append({str(Path(np.__file__).parents[1])!r})
import tempfile
kept = tempfile.mkdtemp()
pathlib.Path(kept, "check.bin").write_bytes(b"left behind")
"""
_ANSWER = 'pathlib.Path(request["answer"]).write_text(json.dumps({"ok": True, "kept": kept}))\n'
_READY = 'print(json.dumps({"ok": True, "kept": kept}), flush=True)\nsys.stdin.readline()\n'


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def worker(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> Worker:
    lock = folder / "lock.txt"
    lock.write_text("")
    environment = IsolatedEnvironment("pretended", lock, (8, 99))
    script = isolated.pretend(monkeypatch, folder, environment, {"pretended": "1.0"}, _LITTER + code)
    return Worker("pretended", environment, "edgepack setup pretended", script)


def test_of_one_question(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = worker(monkeypatch, tmp_path, _ANSWER).once({}, tmp_path, 60)
    assert Path(answer["kept"]).is_relative_to(temporary)
    assert list(temporary.iterdir()) == []


def test_of_one_that_crashes(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolchainFailedError):
        worker(monkeypatch, tmp_path, "os.abort()\n").once({}, tmp_path, 60)
    assert list(temporary.iterdir()) == []


def test_of_a_conversation(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Conversation(worker(monkeypatch, tmp_path, _READY), {}, open_limit_s=60, call_limit_s=60)
    kept = Path(talk.opened["kept"])
    assert kept.is_relative_to(temporary)
    assert (kept / "check.bin").read_bytes() == b"left behind"
    talk.close()
    assert list(temporary.iterdir()) == []
