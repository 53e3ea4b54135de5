"""A folder that is built beside its place and put there in one step.

The folder under construction is hidden, on the same filesystem as its place, and locked by its
builder, so that another process can tell a killed run's leftovers from work in progress::

    <parent>/<name>                  the place
             .<name>.new-<random>    under construction; after an exchange, the old folder on its way out
             .<name>.old-<random>    the old folder, where two names cannot be exchanged in one step
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Literal

from edgepack.toolchain import files
from edgepack.toolchain.errors import UsageError

# linux/fcntl.h and linux/fs.h; see renameat2(2)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_DAY_S = 86400.0
_ATTEMPTS = 100


class Staging:
    """A context manager around a folder under construction.

    Args:
        place: Where the folder shall be; absolute, its parent must exist.
    """

    folder: Path
    """The folder under construction; valid inside the with statement."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._handle: int | None = None

    def __enter__(self) -> Staging:
        while True:
            self.folder = beside(self._place, "new")
            self.folder.mkdir()
            try:
                self._handle = _lock(self.folder)
            except OSError:  # no such locks here; sweepers go by age then
                return self
            if self._handle is not None:
                return self

    def __exit__(self, *_: object) -> None:
        files.remove_tree(self.folder)
        if self._handle is not None:
            os.close(self._handle)

    def put(self) -> None:
        """Put the finished folder in its place, whether or not there is a folder, and remove the old one.

        At every moment the place holds the old folder, the new one or, only on systems that cannot
        exchange two names, nothing for an instant while the old one waits under its hidden name.
        """
        replace_folder(self.folder, self._place)


def beside(place: Path, state: Literal["new", "old"]) -> Path:
    """A fresh hidden name beside the place."""
    return place.with_name(f".{place.name}.{state}-{secrets.token_hex(4)}")


def recover(place: Path) -> None:
    """Undo what a killed run left half done and clear its folders away; live runs are left alone."""
    with os.scandir(place.parent) as entries:
        found = [Path(entry.path) for entry in entries]
    for path in sorted(found):
        if path.name.startswith(f".{place.name}.old-"):
            if not place.exists():
                with contextlib.suppress(OSError):  # its owner may be about to put the new one there
                    path.rename(place)
            else:
                files.remove_tree(path)
        elif path.name.startswith(f".{place.name}.new-"):
            _sweep(path)


def exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step (renameat2 with RENAME_EXCHANGE).

    Returns:
        Whether it was done; False where the system or the filesystem has no such step.
    """
    if sys.platform != "linux":
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if function(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    # EPERM: a sandbox's filter of system calls. The fallback meets the real obstacle if there is one.
    if number in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def replace_folder(new: Path, out: Path) -> None:
    """What `Staging.put` does, for any two folders of one filesystem."""
    for _ in range(_ATTEMPTS):  # another process may be replacing the same folder
        try:
            new.rename(out)  # also replaces an empty folder
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} and not isinstance(error, PermissionError):
                raise
            if not out.is_dir():
                raise
        else:
            return
        try:
            if exchange(new, out):
                files.remove_tree(new)
                return
            old = beside(out, "old")
            out.rename(old)
        except FileNotFoundError:
            continue
        try:
            new.rename(out)
        except OSError:
            if not out.exists():
                old.rename(out)
                raise
            files.remove_tree(old)  # another process was quicker; what it put there is replaced next
            continue
        files.remove_tree(old)
        return
    raise UsageError("The folder is being replaced by other processes all the time", where=str(out))


def _lock(folder: Path) -> int | None:
    """Lock a folder by itself, so that no lock file is needed; closing the handle unlocks it.

    Returns:
        The handle; None when somebody else holds it or it is gone.

    Raises:
        OSError: This system or filesystem has no such locks.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(handle).st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _sweep(folder: Path) -> None:
    """Remove a folder whose builder is dead or, if nobody can tell, has not touched it for a day."""
    try:
        handle = _lock(folder)
    except OSError:
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _DAY_S:
                files.remove_tree(folder)
        return
    if handle is not None:
        files.remove_tree(folder)
        os.close(handle)
