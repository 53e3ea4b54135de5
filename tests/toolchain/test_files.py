"""Hashing, copying, canonical JSON and the one-step replacement of a folder."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from edgepack.toolchain import files, staging
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.files import FileHash


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001])
def test_hash_file_agrees_with_hashlib(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert files.hash_file(tmp_path / "file") == FileHash(hashlib.sha256(data).hexdigest(), size)


def test_hash_tree_reads_only_what_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"aaa")
    (tmp_path / "b").write_bytes(b"bb")
    known = {"deep/a": FileHash("believed", 3), "b": FileHash("wrong size, not believed", 7)}
    assert files.hash_tree(tmp_path, known) == {
        "b": FileHash(hashlib.sha256(b"bb").hexdigest(), 2),
        "deep/a": FileHash("believed", 3),
    }


@pytest.mark.parametrize("target", ["file", "folder"])
def test_hash_tree_refuses_links(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match="not a regular file"):
        files.hash_tree(tmp_path / "tree")


def test_equal_values_have_one_spelling() -> None:
    assert files.digest({"b": (1, 2), "a": "ä"}) == files.digest({"a": "ä", "b": [1, 2]})
    assert files.digest({"a": 1}) != files.digest({"a": "1"})
    assert files.digest({"a": 1}) != files.digest({"a": 1, "b": None})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_equals_nothing_cannot_be_a_key(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.digest({"a": value})


@pytest.mark.parametrize("kernel_copies", [True, False])
def test_copy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_copies: bool) -> None:
    if not kernel_copies:

        def refuse(*_: int) -> int:
            raise OSError(errno.EXDEV, "not between these file systems")

        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    data = os.urandom(2_500_000)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(b"something longer that must not shine through" * 100_000)
    files.copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_write_text_leaves_the_old_text_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "new", sync=True)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_storage_errors_say_what_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught, files.storage_errors("It broke", tmp_path, "Mend it"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == f"It broke: the disk is full ({tmp_path}). Mend it."
    with pytest.raises(FileNotFoundError), files.storage_errors("It broke", tmp_path, "Mend it"):
        (tmp_path / "nothing").read_bytes()


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("before", ["nothing", "empty", "full"])
def test_put_replaces_a_folder_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(staging, "exchange", lambda _a, _b: False)
    place = tmp_path / "place"
    if before != "nothing":
        place.mkdir()
    if before == "full":
        (place / "old").mkdir()
        (place / "old" / "file").touch()
    with staging.Staging(place) as under_construction:
        (under_construction.folder / "new").touch()
        under_construction.put()
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]
    assert [entry.name for entry in place.iterdir()] == ["new"]


def test_a_live_builder_is_left_alone_and_a_dead_one_swept(tmp_path: Path) -> None:
    place = tmp_path / "place"
    dead = staging.beside(place, "new")
    dead.mkdir()
    (dead / "half").touch()
    with staging.Staging(place) as alive:
        (alive.folder / "file").touch()
        staging.recover(place)
        assert (alive.folder / "file").exists()
        assert not dead.exists()
        alive.put()
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]


def test_another_place_is_not_swept(tmp_path: Path) -> None:
    other = staging.beside(tmp_path / "place2", "new")
    other.mkdir()
    staging.recover(tmp_path / "place")
    assert other.exists()
