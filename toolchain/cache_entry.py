"""One entry of the cache on disk: its record, and whether its files still are what was written.

::

    <entry>/entry.json    key, time of making, size and SHA-256 of every file
            stamps.json   inode, size and times of every file when its SHA-256 was last confirmed
            files/        what the stage wrote

A file is read and hashed again unless its stamp still holds. Every way to change a file through the
file system moves its change time, which no program can set, so the stamps only leave out failing
disks and a raw write to the device; against those every file is read again once a week.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgepack.toolchain import files
from edgepack.toolchain.files import FileHash

RECORD = "entry.json"
FILES = "files"
_STAMPS = "stamps.json"
_WEEK_NS = 7 * 86400 * 10**9
# Two changes within one tick of the kernel's clock have the same change time, so a file that changed
# this shortly before its stamp was taken is not believed (ticks are 10 ms or less).
_TICK_NS = 50 * 10**6
_SECOND_NS = 10**9


class Checked(NamedTuple):
    """Hashes of an entry's files by name, and the names of damaged files; sound when there are none."""

    hashes: dict[str, FileHash]
    damage: list[str]


def finish(entry: Path, key: Mapping[str, Any]) -> dict[str, FileHash]:
    """Write the record and the stamps of an entry whose files are complete.

    Raises:
        ValueError: A stage left something that is not a regular file.
    """
    hashes = files.hash_tree(entry / FILES)
    record = {"key": key, "created": time.time(), "files": hashes}
    (entry / RECORD).write_text(json.dumps(record), encoding="utf-8")
    _write_stamps(entry, {}, hashes)
    return hashes


def check(entry: Path) -> Checked:
    """Compare an entry with its record; the caller holds its lock."""
    try:
        record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        recorded = {name: FileHash(*pair) for name, pair in record["files"].items()}
        present = dict(files.walk_files(entry / FILES))
        damage = [name for name in recorded if name not in present]
        damage += [name for name in present if name not in recorded]
        damage += [
            name
            for name, facts in present.items()
            if name in recorded and facts.st_size != recorded[name].size_bytes
        ]
        if damage:
            return Checked({}, sorted(damage))
        believed = {
            name: stamp
            for name, stamp in _read_stamps(entry).items()
            if name in present and _holds(stamp, present[name])
        }
        found = files.hash_tree(entry / FILES, {name: recorded[name] for name in believed})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Checked({}, [f"{RECORD} ({type(error).__name__}: {error})"])
    damage = sorted(name for name in recorded if found[name] != recorded[name])
    if not damage and len(believed) < len(recorded):
        with contextlib.suppress(OSError):
            _write_stamps(entry, believed, found)
    return Checked(found, damage)


def _stamp(facts: os.stat_result, confirmed_ns: int) -> list[int]:
    return [confirmed_ns, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _holds(stamp: list[int], facts: os.stat_result) -> bool:
    if not stamp:
        return False
    confirmed_ns = stamp[0]
    coarse = facts.st_ctime_ns % _SECOND_NS == 0  # a file system that counts in seconds
    settled = confirmed_ns - facts.st_ctime_ns > _TICK_NS and not coarse
    fresh = 0 <= time.time_ns() - confirmed_ns < _WEEK_NS
    return os.name == "posix" and settled and fresh and stamp == _stamp(facts, confirmed_ns)


def _read_stamps(entry: Path) -> dict[str, list[int]]:
    try:
        stamps = json.loads((entry / _STAMPS).read_text(encoding="utf-8"))
        return {str(name): [int(number) for number in stamp] for name, stamp in stamps.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # then everything is read


def _write_stamps(entry: Path, believed: Mapping[str, list[int]], hashes: Mapping[str, FileHash]) -> None:
    """Stamp what was hashed just now; what was believed keeps the time at which it was confirmed."""
    now = time.time_ns()
    stamps = {name: believed.get(name) or _stamp((entry / FILES / name).lstat(), now) for name in hashes}
    files.write_text(entry / _STAMPS, json.dumps(stamps))
