"""Which live processes use what: so that nobody removes what somebody is reading.

A process announces itself by a locked file, which the system unlocks when the process ends however
it ends, and lists what it uses in a file beside it::

    <folder>/<random>.lock   locked as long as the process lives
             <random>.keys   one name a line

Nothing here waits: `try_lock` and `used` answer at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


def file_lock(path: Path) -> BaseFileLock:
    """A lock between processes and threads; the file stays, since removing it would split its waiters."""
    from filelock import FileLock

    return FileLock(path, thread_local=False)


@contextlib.contextmanager
def try_lock(lock: BaseFileLock) -> Iterator[bool]:
    """Whether the lock was free; if so it is held within."""
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


class Presence:
    """This process among the users of a shared folder.

    Args:
        folder: Where processes announce themselves; it must exist when `use` is called first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._keys: Path | None = None
        self._leave: weakref.finalize[..., Presence] | None = None

    def use(self, name: str) -> None:
        """Note that this process uses `name` until it leaves.

        To be called with the lock held under which others would remove what `name` stands for.
        """
        with self._guard:
            if self._keys is None:
                keys = self._folder / f"{secrets.token_hex(8)}.keys"
                lock = file_lock(keys.with_suffix(".lock"))
                lock.acquire()
                self._leave = weakref.finalize(self, _leave, lock, keys, os.getpid())
                self._keys = keys
            with self._keys.open("a", encoding="ascii") as file:
                file.write(f"{name}\n")

    def leave(self) -> None:
        """Use nothing any more; happens by itself when the process ends."""
        with self._guard:
            if self._leave is not None:
                self._leave()
            self._leave = self._keys = None

    def used(self) -> set[str]:
        """Names that live processes use, this one included; what dead ones left is removed."""
        names: set[str] = set()
        for keys in self._folder.glob("*.keys"):
            lock = file_lock(keys.with_suffix(".lock"))
            with try_lock(lock) as dead:
                if dead:
                    keys.unlink(missing_ok=True)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        names.update(keys.read_text(encoding="ascii").split())
            if dead:
                Path(lock.lock_file).unlink(missing_ok=True)
        return names


def _leave(lock: BaseFileLock, keys: Path, owner: int) -> None:
    """Not a method: a finalizer must not hold its object. A forked child leaves its parent's files alone."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError):
            keys.unlink(missing_ok=True)
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)
