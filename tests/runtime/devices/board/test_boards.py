"""Making, switching and removing boards."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import pytest

from edgepack.runtime.devices.board import boards, making
from edgepack.runtime.devices.device import opened
from edgepack.runtime.devices.native.library import machine_of
from edgepack.toolchain.errors import DeviceError, ToolchainMissingError, UnknownNameError, UsageError


def test_from_nothing_to_nothing(board, cache):
    """Only what is named is there; off, on, off; removed, nothing is left."""
    assert [one.name for one in boards.every()] == ["tester"]
    assert machine_of(board.library) == "aarch64"
    assert boards.started(board) is None
    with (
        pytest.raises(DeviceError, match=r"not switched on.*edgepack board start tester"),
        opened("board://tester"),
    ):
        pass
    started = boards.start("tester")
    assert boards.started(board) == started
    assert started.version[0].isdigit()
    with opened("board://tester") as device:
        assert device.system.endswith(" aarch64")
        assert "python3" not in device.tools
        assert device.base == str(board.folder / "home")
    boards.stop("tester")
    assert boards.started(board) is None
    boards.remove("tester")
    assert boards.every() == []
    assert list((cache / "boards").iterdir()) == []


def test_what_runs_there_ends_with_it(board):
    """Off is off: a run is killed, the one who waits for it is told, and the next start finds nothing of it."""
    boards.start("tester")
    with opened("board://tester") as device, device.run() as run:
        job = run.start(["sh", "-c", "echo $$ >number; sleep 600"])
        number = board.folder / "home" / "runs" / run.number / "number"
        deadline = time.monotonic() + 20
        while not (number.is_file() and number.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process = int(number.read_text())
        boards.stop("tester")
        with pytest.raises(DeviceError, match=r"was switched off|was killed"):
            job.wait(30)
    assert not Path(f"/proc/{process}/exe").exists()
    boards.start("tester")
    assert not (board.folder / "home" / "runs").exists()


def test_a_library_that_the_board_cannot_load(board):
    """Cut in the middle: found out when it is switched on, and it stays off."""
    whole = board.library.read_bytes()
    board.library.write_bytes(whole[: len(whole) // 100])
    with pytest.raises(DeviceError, match="cannot load ONNX Runtime's library"):
        boards.start("tester")
    assert boards.started(board) is None


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "A", "a b", "a" * 41, "$(id)", "a,b"])
def test_names_that_are_none(name, cache):
    for use in (making.create, boards.start, boards.stop, boards.remove):
        with pytest.raises(UsageError, match="small letters"):
            use(name)
    assert not cache.exists()


def test_what_does_not_exist(cache):
    for use in (boards.start, boards.stop, boards.remove):
        with pytest.raises(UsageError, match=r"no board 'none'.*edgepack board create none"):
            use("none")
    with pytest.raises(UsageError, match="no board 'none'"), opened("board://none"):
        pass


def test_nothing_is_left_of_one_that_cannot_be_made(board, cache, tmp_path, monkeypatch):
    """Whatever it is for; and a second of the same name is refused."""
    with pytest.raises(UsageError, match=r"a board 'tester' already.*remove tester"):
        making.create("tester")
    with pytest.raises(UnknownNameError, match="cortex-a76"):
        making.create("other", processor="cortex-a77")
    with pytest.raises(UsageError, match="no such file"):
        making.create("other", onnxruntime=tmp_path / "none")
    with pytest.raises(UsageError, match=r"no wheel for 64-bit ARM of onnxruntime and numpy"):
        making.create("other", python=True, onnxruntime=tmp_path)
    with zipfile.ZipFile(tmp_path / "onnxruntime-1-aarch64.whl", "w") as wheel:
        wheel.writestr("readme", "no library")
    with pytest.raises(UsageError, match=r"holds no libonnxruntime\.so"):
        making.create("other", onnxruntime=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissingError, match=r"64-bit ARM programs.*apt install qemu-user"):
        making.create("other", onnxruntime=tmp_path)
    assert [one.name for one in (cache / "boards").iterdir()] == ["tester"]


def test_a_damaged_board_is_none(board):
    facts = board.folder / "board.json"
    for text in ("", "{}", "[]", json.dumps({**json.loads(facts.read_text()), "more": 1})):
        facts.write_text(text)
        with pytest.raises(UsageError, match="no board 'tester'"):
            boards.get("tester")
