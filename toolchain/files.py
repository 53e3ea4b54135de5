"""Files and trees: hashing, copying, canonical JSON, syncing, and the wording of a disk's refusals.

What the cache and the bundle need from a filesystem, and nothing about either of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgepack.toolchain.errors import UsageError

_CHUNK = 1 << 20

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
}
UNWRITABLE = FULL | {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "a file stands where a folder is needed",
}


class FileHash(NamedTuple):
    """SHA-256 (hexadecimal) and size in bytes of one file."""

    sha256: str
    size_bytes: int


def hash_file(path: Path) -> FileHash:
    """Hash a file of any size with constant memory."""
    hasher = hashlib.sha256()
    size = 0
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
    return FileHash(hasher.hexdigest(), size)


def walk_files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry of a tree that is not a folder, as (POSIX path relative to it, lstat), sorted by path.

    Links are given as links (`stat.S_ISLNK`) and never followed.
    """
    found: list[tuple[str, os.stat_result]] = []

    def raise_it(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=raise_it):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in (*files, *links):
            path = Path(root, name)
            found.append((path.relative_to(folder).as_posix(), path.lstat()))
    return iter(sorted(found, key=lambda pair: pair[0]))


def hash_tree(folder: Path, known: Mapping[str, FileHash] | None = None) -> dict[str, FileHash]:
    """Hash every file of a tree.

    Args:
        folder: The tree; it may hold regular files and folders only.
        known: Hashes that need no second reading, by relative path; one whose size does not agree
            with the file is not believed.

    Raises:
        ValueError: The tree holds a link, a socket, a device or a pipe.
    """
    hashes = {}
    for name, facts in walk_files(folder):
        if not stat.S_ISREG(facts.st_mode):
            msg = f"{folder / name} is not a regular file"
            raise ValueError(msg)
        believed = (known or {}).get(name)
        if believed is None or believed.size_bytes != facts.st_size:
            believed = hash_file(folder / name)
        hashes[name] = believed
    return hashes


def canonical_json(value: Any) -> str:
    """One spelling for equal values: sorted keys, no spaces, ASCII; tuples are lists.

    Raises:
        TypeError: Something that JSON has no form for.
        ValueError: NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Copy contents; blocks are shared where the filesystem can do that, times and modes are not kept.

    A hard link would be cheaper, and an edit in one place would then damage the other.
    """
    if sys.platform == "linux":
        with source.open("rb") as reader, target.open("wb") as writer:
            left = os.fstat(reader.fileno()).st_size
            try:
                while left > 0 and (count := os.copy_file_range(reader.fileno(), writer.fileno(), left)):
                    left -= count
            except OSError as error:
                if error.errno in FULL:
                    raise
                left = -1  # not possible between these two filesystems
            if left == 0:
                return
    shutil.copyfile(source, target)


def write_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Write a file so that its name never shows half of it; `sync` makes it survive a power cut."""
    write_bytes(path, text.encode(), sync=sync)


def write_bytes(path: Path, content: bytes | bytearray, *, sync: bool = False) -> None:
    """Write a file as `write_text` does; what has the old one open, or mapped into memory, keeps that."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def sync_tree(folder: Path) -> None:
    """Bring the contents of a tree and its folders' entries to the disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))


def sync(path: Path) -> None:
    """`fsync` for a file or, where the system can, a folder."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EBADF}:  # filesystems that have nothing to sync
            raise
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Remove a tree that may be gone already or be vanishing; what cannot go stays for a later sweep."""
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def storage_errors(
    what: str, where: Path, todo: str, causes: Mapping[int, str] | None = None
) -> Iterator[None]:
    """Turn the filesystem's refusals into one readable error; other errors pass.

    Args:
        what: What could not be done ("The bundle cannot be written").
        where: The folder to name.
        todo: What the reader can do.
        causes: Error numbers and their wording; `UNWRITABLE` unless told, `FULL` for less.
    """
    wording = UNWRITABLE if causes is None else causes
    try:
        yield
    except OSError as error:
        cause = wording.get(error.errno or 0)
        if cause is None:
            raise
        raise UsageError(f"{what}: {cause}", where=str(where), todo=todo) from error
