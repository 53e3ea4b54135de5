"""Emulated boards of this account: switched on and off, listed, removed.

    <cache>/boards/NAME/
        board.json      what it is (written last: a folder without it is no board)
        root/           the emulator's prefix: libraries, perhaps Python, and the board's /proc and /sys
        runtime/        ONNX Runtime's library
        packages/       Python's packages, on a board with Python
        home/           edgepack's folder on the board
        bin/            the programs that the board's shell finds: those of this machine that its scripts need
        started.json    while it is switched on: which emulator, and what counts instructions

There is no process behind a board that is switched on: its programs run in the emulator one by one, started by
this machine's shell. Switching it on finds the emulator and proves that ONNX Runtime's library and all that it
needs can be loaded by the board's own loader; switching it off ends what still runs there.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgepack.runtime.devices import client, shell
from edgepack.runtime.devices.board import counting, emulator, programs, userland
from edgepack.toolchain import files
from edgepack.toolchain.cache import default_root
from edgepack.toolchain.errors import DeviceError, UsageError

Tell = Callable[[str], object]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
FACTS, _STARTED = "board.json", "started.json"
_LOAD_S, _STOP_S = 120.0, 60.0


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        folder: Where it lies; its name is the board's.
        processor: Which one is emulated, by QEMU's name.
        userland: "compiler" or "debian".
        onnxruntime: Version of ONNX Runtime.
        created: UTC, ISO 8601.
    """

    folder: Path
    processor: str
    userland: str
    onnxruntime: str
    created: str

    @property
    def name(self) -> str:
        """In `board://NAME`."""
        return self.folder.name

    @property
    def root(self) -> Path:
        """The emulator's prefix."""
        return self.folder / "root"

    @property
    def library(self) -> Path:
        """ONNX Runtime's."""
        return self.folder / "runtime" / "libonnxruntime.so"

    @property
    def has_python(self) -> bool:
        """Whether it has one, with ONNX Runtime."""
        return self.userland == userland.DEBIAN


@dataclass(frozen=True)
class Started:
    """What a board that is switched on runs with.

    Attributes:
        emulator: QEMU's program.
        version: Its version.
        plugin: What counts instructions; empty where nothing does.
        uncounted: Why not.
        since: UTC, ISO 8601.
    """

    emulator: str
    version: str
    plugin: str
    uncounted: str
    since: str


def start(name: str, *, tell: Tell = lambda _: None) -> Started:
    """Switch a board on.

    Raises:
        UsageError: There is no such board.
        ToolchainMissingError: QEMU is missing.
        DeviceError: ONNX Runtime's library cannot be loaded there.
    """
    board = get(name)
    found = emulator.find()
    loader = board.root / userland.LOADER
    command = [str(found.path), "-cpu", board.processor, "-L", str(board.root), str(loader), "--list"]
    loaded = client.call([*command, str(board.library)], limit_s=_LOAD_S)
    if loaded.code != 0 or b"not found" in loaded.stdout:
        raise DeviceError(
            f"The board cannot load ONNX Runtime's library: {loaded.words}",
            where=f"board://{name}",
            todo=f"Make it anew: edgepack board remove {name}",
        )
    plugin, why = counting.plugin(found, board.root)
    if plugin is None:
        tell(f"instructions will not be counted: {why}")
    (board.folder / "home").mkdir(exist_ok=True)
    if started(board) is None:
        shutil.rmtree(board.folder / "home" / "runs", ignore_errors=True)
    programs.write(board.folder / "bin", python=board.has_python)
    facts = Started(str(found.path), found.version, str(plugin or ""), why, now())
    # A rename: whoever finds the file finds all of it.
    beside = board.folder / f".{_STARTED}.{secrets.token_hex(4)}"
    beside.write_text(json.dumps(asdict(facts)))
    beside.replace(board.folder / _STARTED)
    return facts


def stop(name: str) -> None:
    """Switch a board off: end what runs there. What such a run leaves goes when the board is switched on again.

    Raises:
        UsageError: There is no such board.
        DeviceError: A run cannot be ended.
    """
    board = get(name)
    (board.folder / _STARTED).unlink(missing_ok=True)
    home = board.folder / "home"
    for run in sorted((home / "runs").glob("*")):
        script = shell.compose(shell.script("stop"), (str(home), run.name), secrets.token_hex(8))
        ended = client.call(["sh", "-s"], given=script, limit_s=_STOP_S)
        if ended.code is None:
            raise DeviceError(f"The run {run.name} cannot be ended", where=f"board://{name}")


def remove(name: str) -> None:
    """Switch a board off and remove it with all that is on it.

    Raises:
        UsageError: There is no such board, or its folder cannot be removed.
    """
    stop(name)
    place = get(name).folder
    with files.storage_errors("The board cannot be removed", place, "Remove its folder by hand"):
        shutil.rmtree(place)


def get(name: str) -> Board:
    """A board by its name.

    Raises:
        UsageError: There is none.
    """
    place = place_of(name)
    try:
        return Board(place, **json.loads((place / FACTS).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"There is no board '{name}'", todo=f"Make it with: edgepack board create {name}"
        ) from error


def started(board: Board) -> Started | None:
    """What it runs with, None while it is switched off."""
    try:
        return Started(**json.loads((board.folder / _STARTED).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def every() -> list[Board]:
    """All boards, by name."""
    found = sorted((default_root() / "boards").glob(f"*/{FACTS}"))
    return [get(file.parent.name) for file in found if _NAME.fullmatch(file.parent.name)]


def place_of(name: str) -> Path:
    """Folder of a board, whether there is one or not.

    Raises:
        UsageError: No board can have that name.
    """
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            "A board's name is of small letters, digits, hyphens and underscores, at most 40",
            where=repr(name),
        )
    return default_root() / "boards" / name


def now() -> str:
    """UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
