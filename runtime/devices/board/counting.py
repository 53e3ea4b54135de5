r"""Instructions of an emulated program: the plugin that counts them, and a call's cost out of its counts.

    cost of a call = c(end) - c(begin) - o,        o = c(second empty mark) - c(first empty mark)

c are the plugin's counts at marks that the runner sets around each call (`plugin/src/count.c`), o is what a mark
itself takes. A call is repeated after some that warm it up; its cost is the median.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from edgepack.runtime.devices import client
from edgepack.runtime.devices.board.emulator import Emulator
from edgepack.runtime.devices.board.userland import LOADER
from edgepack.runtime.kernels.build import BuildError, make
from edgepack.runtime.statistics import median
from edgepack.toolchain.cache import default_root
from edgepack.toolchain.errors import DeviceError

FILE = "counts.txt"
_SOURCES = Path(__file__).resolve().parent / "plugin"
_PLUGIN = "edgepack_count.so"
_INTERFACES = (1, 2, 3, 4, 5)
"""Of QEMU's plugin interface: which of them a QEMU speaks is found out by trying."""
_TRIAL_S = 60.0


@dataclass(frozen=True)
class Counts:
    """Executed instructions.

    Attributes:
        instructions: All.
        dot_products: SDOT and UDOT.
        vectors: Vector and scalar floating-point instructions, dot products included.
        memory: Loads and stores.
    """

    instructions: float
    dot_products: float
    vectors: float
    memory: float

    def __sub__(self, other: Counts) -> Counts:
        """Class by class."""
        return Counts(*(getattr(self, one.name) - getattr(other, one.name) for one in fields(self)))


def plugin(emulator: Emulator, root: Path) -> tuple[Path | None, str]:
    """The plugin for an emulator, built once and tried; or None and why there is none.

    Args:
        emulator: Of `emulator.find`.
        root: A board's prefix, whose loader is the program that it is tried with.
    """
    if not emulator.plugins:
        return None, f"{emulator.path.name} takes no plugins; Debian's package qemu-user has one that does"
    why = ""
    for interface in _INTERFACES:
        place = default_root() / "runners" / _key(emulator, interface) / _PLUGIN
        if "," in str(place):
            return None, "the cache folder's name holds a comma, which separates options for QEMU"
        try:
            if not place.is_file():
                make(_SOURCES, (_PLUGIN,), place, f"-DEDGEPACK_INTERFACE={interface}")
        except BuildError as error:
            return None, f"the plugin that counts instructions cannot be built: {error}"
        command = [
            str(emulator.path),
            "-plugin",
            str(place),
            "-L",
            str(root),
            str(root / LOADER),
            "--version",
        ]
        tried = client.call(command, limit_s=_TRIAL_S)
        if tried.code == 0:
            return place, ""
        why = why or tried.words
    return None, f"QEMU {emulator.version} does not load the plugin that counts instructions: {why}"


def read(content: str, repetitions: Sequence[int]) -> list[list[Counts]]:
    """Costs of every call.

    Args:
        content: What the plugin wrote.
        repetitions: How often each unit was called.

    Returns:
        By unit, a cost for each repetition.

    Raises:
        DeviceError: The marks are not those that the runner sets.
    """
    try:
        marks = [[int(word) for word in line.split()] for line in content.splitlines()]
        numbers = [mark[0] for mark in marks]
        at = [Counts(*mark[1:]) for mark in marks]
    except (ValueError, TypeError, IndexError) as error:
        raise DeviceError(f"The emulator's counts cannot be read: {error}") from error
    expected = [0, 0, *(unit for unit, times in enumerate(repetitions, 1) for _ in range(2 * times))]
    if numbers != expected:
        raise DeviceError(f"The emulator counted {len(numbers)} marks where the runner sets {len(expected)}")
    own = at[1] - at[0]
    costs = [end - begin - own for begin, end in zip(at[2::2], at[3::2], strict=True)]
    found, first = [], 0
    for times in repetitions:
        found.append(costs[first : first + times])
        first += times
    return found


def typical(costs: Sequence[Counts]) -> Counts:
    """The median of each class."""
    return Counts(*(median([getattr(cost, one.name) for cost in costs]) for one in fields(Counts)))


def _key(emulator: Emulator, interface: int) -> str:
    """Of everything that the plugin is made from and for."""
    found = hashlib.sha256(f"{emulator.path}\0{emulator.version}\0{interface}".encode())
    for file in sorted([_SOURCES / "CMakeLists.txt", *(_SOURCES / "src").iterdir()]):
        found.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()[:16]
