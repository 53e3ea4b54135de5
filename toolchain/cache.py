"""The content-addressed cache: what was built once from the same ingredients is not built again.

The key of an entry is a mapping that holds everything that can change the result; its canonical
JSON, hashed with SHA-256, is the entry's name. On disk::

    <root>/v1/entries/<digest>/   a finished entry, see `cache_entry`
              tmp/<digest>.<random>/        an entry being built; swept when its builder is dead
              locks/<digest>.lock           held while an entry is looked up, built or dropped
              users/                        live processes, and the entries each of them uses

An entry appears by a rename, so it is whole or absent. Nothing is synced to the disk: after a power
cut the check that every first hit makes finds the damage, and the entry is built again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import cache_entry, files
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.files import FileHash
from edgepack.toolchain.presence import Presence, file_lock, try_lock

if TYPE_CHECKING:
    from filelock import BaseFileLock

DEFAULT_MAX_BYTES = 20 << 30
_ALMOST_NOTHING = 1 << 20
_TODO = "Give a folder with room by EDGEPACK_CACHE, or run without the cache by --no-cache"
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of edgepack; see https://bford.info/cachedir/\n"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        root: Its folder.
        entries: Number of finished entries.
        size_bytes: Sum of their files' sizes.
        max_bytes: The bound above which the least recently used entries go.
    """

    root: Path
    entries: int
    size_bytes: int
    max_bytes: int


@dataclass(frozen=True)
class _Entry:
    digest: str
    size_bytes: int
    used: float


def default_root() -> Path:
    """EDGEPACK_CACHE if it is set, else the place where this system keeps a user's caches."""
    given = os.environ.get("EDGEPACK_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgepack", appauthor=False))


class Cache:
    """A cache in a folder that any number of processes and threads may share.

    The constructor touches nothing; folders are made by the first `stage`.

    Args:
        root: The folder; `default_root()` unless given.
        max_bytes: Bound on the sum of all entries' files, in bytes. Entries that a live process has
            staged are never removed, so the sum may stay above it for a while.
        warn: Called with a sentence when an entry was damaged; a log record unless given.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self.root = default_root() if root is None else Path(root).absolute()
        self.max_bytes = max_bytes
        self._home = self.root / "v1"
        self._warn: Callable[[str], object] = warn or _log.warning
        self._sound: dict[str, dict[str, FileHash]] = {}
        self._building = threading.local()
        self._presence = Presence(self._home / "users")

    @classmethod
    @contextlib.contextmanager
    def temporary(cls) -> Iterator[Cache]:
        """A private cache that is removed at the end: what --no-cache uses."""
        with tempfile.TemporaryDirectory(prefix="edgepack-cache-", ignore_cleanup_errors=True) as folder:
            cache = cls(Path(folder))
            try:
                yield cache
            finally:
                cache.close()

    def stage(self, key: Mapping[str, Any], build: Callable[[Path], object]) -> tuple[Path, bool]:
        """The folder of the finished entry for `key`, built now if there is none.

        Args:
            key: Everything that can change the result; JSON values only.
            build: Writes the entry's files into the empty folder that it is given. When it raises,
                nothing stays behind and the error passes through.

        Returns:
            The folder, to be read and never written, and whether it was there already. It stays
            until this object is closed or gone, or this process ends.

        Raises:
            UsageError: The cache cannot be written, or the disk is full.
        """
        name = files.digest(key)
        building: set[str] = self._building.__dict__.setdefault("names", set())
        if name in building:
            msg = f"a stage needs itself: {files.canonical_json(key)}"
            raise ValueError(msg)
        with files.storage_errors("The cache cannot be written", self.root, _TODO):
            self._make_folders()
            lock = self._lock(name)
            lock.acquire()
        try:
            with files.storage_errors("The cache cannot be written", self.root, _TODO):
                self._presence.use(name)
                folder = self._entry(name) / cache_entry.FILES
                if self._is_sound(name):
                    os.utime(self._entry(name) / cache_entry.RECORD)
                    return folder, True
            building.add(name)
            try:
                self._build(name, key, build)
            finally:
                building.discard(name)
        finally:
            lock.release()
        self._evict()
        return folder, False

    def hold(self, folder: Path) -> bool:
        """Use a finished entry of this cache by its folder, which another process was given; whether it is sound.

        Raises:
            UsageError: The cache cannot be written.
        """
        name = folder.parent.name
        with files.storage_errors("The cache cannot be written", self.root, _TODO):
            self._make_folders()
            with self._lock(name):
                self._presence.use(name)
                return self._is_sound(name)

    def hashes(self, folder: Path) -> dict[str, FileHash]:
        """Hashes of an entry that this object staged, so that nobody needs to read its files again."""
        return dict(self._sound[folder.parent.name])

    def info(self) -> CacheInfo:
        """Number and size of the finished entries."""
        entries = self._entries()
        return CacheInfo(self.root, len(entries), sum(entry.size_bytes for entry in entries), self.max_bytes)

    def clear(self) -> int:
        """Remove every entry that no live process uses.

        Returns:
            Number of bytes that were freed, entries under construction not counted.
        """
        if not self._home.is_dir():
            return 0
        with files.storage_errors("The cache cannot be cleared", self.root, "Remove the folder by hand"):
            self._sweep()
            return self._drop_down_to(0)

    def close(self) -> None:
        """Give up the entries that this object holds; `stage` may be called again."""
        self._sound.clear()
        self._presence.leave()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entry(self, name: str) -> Path:
        return self._home / "entries" / name

    def _lock(self, name: str) -> BaseFileLock:
        return file_lock(self._home / "locks" / f"{name}.lock")

    def _make_folders(self) -> None:
        for folder in ("entries", "tmp", "locks", "users"):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        tag = self.root / "CACHEDIR.TAG"  # backup programs leave such folders out
        if not tag.exists():
            files.write_text(tag, _TAG)

    def _is_sound(self, name: str) -> bool:
        """Whether the entry is there and its files are what was written; a damaged one is dropped."""
        entry = self._entry(name)
        if not entry.is_dir():
            self._sound.pop(name, None)
            return False
        if name in self._sound:
            return True
        recorded, damage = cache_entry.check(entry)
        if damage:
            self._warn(f"A damaged entry of the cache is built again: {', '.join(damage)} in {entry}")
            self._drop(name)
            return False
        self._sound[name] = recorded
        return True

    def _build(self, name: str, key: Mapping[str, Any], build: Callable[[Path], object]) -> None:
        """Build the entry in a temporary folder and rename it; the entry's lock is held."""
        for stale in self._home.glob(f"tmp/{name}.*"):
            files.remove_tree(stale)  # its builder held this lock, so it is dead
        self._sweep()
        beside = self._home / "tmp" / f"{name}.{secrets.token_hex(4)}"
        try:
            with files.storage_errors("The cache cannot be written", self.root, _TODO):
                (beside / cache_entry.FILES).mkdir(parents=True)
            with files.storage_errors("The result of a stage cannot be kept", self.root, _TODO, files.FULL):
                build(beside / cache_entry.FILES)
            with files.storage_errors("The cache cannot be written", self.root, _TODO):
                hashes = cache_entry.finish(beside, key)
                beside.rename(self._entry(name))
        except Exception as error:
            # Libraries and vendors' tools hide the disk's refusal behind errors of their own.
            full = not isinstance(error, UsageError) and shutil.disk_usage(self._home).free < _ALMOST_NOTHING
            if full:
                raise UsageError(
                    f"The result of a stage cannot be kept: the disk is full; the stage said: {error}",
                    where=str(self.root),
                    todo=_TODO,
                ) from error
            raise
        finally:
            files.remove_tree(beside)
        self._sound[name] = hashes

    def _drop(self, name: str) -> None:
        """Remove an entry whose lock is held: first its name, then its files."""
        self._sound.pop(name, None)
        aside = self._home / "tmp" / f"{name}.{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            self._entry(name).rename(aside)
            files.remove_tree(aside)

    def _entries(self) -> list[_Entry]:
        found = []
        for record in self._home.glob(f"entries/*/{cache_entry.RECORD}"):
            with contextlib.suppress(OSError):
                size = sum(facts.st_size for _, facts in files.walk_files(record.parent))
                found.append(_Entry(record.parent.name, size, record.stat().st_mtime))
        return found

    def _sweep(self) -> None:
        """Remove what dead processes left: a temporary folder is dead when its entry's lock is free."""
        self._presence.used()
        for folder in self._home.glob("tmp/*"):
            name = folder.name.partition(".")[0]
            if name in self._building.__dict__.get("names", ()):
                continue
            with try_lock(self._lock(name)) as dead:
                if dead:
                    files.remove_tree(folder)

    def _evict(self) -> None:
        with contextlib.suppress(OSError):  # a bound that is met later is no reason to fail a run
            self._drop_down_to(self.max_bytes)

    def _drop_down_to(self, bound: int) -> int:
        """Remove entries, least recently used first, until their sizes sum up to at most `bound`."""
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        excess = sum(entry.size_bytes for entry in entries) - bound
        freed = 0
        for entry in entries:
            if freed >= excess:
                break
            with try_lock(self._lock(entry.digest)) as free:
                if free and entry.digest not in self._presence.used():
                    self._drop(entry.digest)
                    freed += entry.size_bytes
        return freed
