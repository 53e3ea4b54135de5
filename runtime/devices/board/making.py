"""Makes an emulated board: in a folder beside its place, which it takes when it is whole."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edgepack.runtime.devices.board import emulator, packages, tree, userland
from edgepack.runtime.devices.board.boards import FACTS, Board, now, place_of
from edgepack.toolchain import files
from edgepack.toolchain.errors import UsageError

Tell = Callable[[str], object]


def create(
    name: str,
    *,
    processor: str = emulator.DEFAULT_PROCESSOR,
    python: bool = False,
    onnxruntime: Path | None = None,
    tell: Tell = lambda _: None,
) -> Board:
    """Make a board.

    Args:
        name: Small letters, digits, hyphens and underscores.
        processor: Of `emulator.PROCESSORS`.
        python: With Debian's Python for 64-bit ARM, which is fetched; otherwise with the cross compiler's libraries.
        onnxruntime: A wheel for 64-bit ARM, a folder that holds one (and numpy's, for a board with Python), or,
            without Python, a shared library. The wheel of this machine's version is fetched where nothing is named.
        tell: Told in a sentence what happens, and before anything is fetched what and from where.

    Raises:
        UsageError: The name, the processor or the library will not do, or there is such a board.
        TargetError: QEMU, a compiler or mmdebstrap is missing, or something cannot be fetched.
    """
    place = place_of(name)
    if place.exists():
        raise UsageError(
            f"There is a board '{name}' already", todo=f"Remove it with: edgepack board remove {name}"
        )
    chosen, found = emulator.processor(processor), emulator.find()
    with files.storage_errors("The board cannot be made", place, "Name another folder with EDGEPACK_CACHE"):
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{name}.{secrets.token_hex(4)}")
        new.mkdir()
        try:
            wheels = _wheels(onnxruntime, new, python, tell)
            _fill(new, wheels, python, tell)
            tree.write(new / "root", chosen, found.version)
            kind = userland.DEBIAN if python else userland.COMPILER
            board = Board(place, processor, kind, packages.version_of(wheels[0]), now())
            facts = {key: value for key, value in asdict(board).items() if key != "folder"}
            (new / FACTS).write_text(json.dumps(facts))
            shutil.rmtree(new / "wheels", ignore_errors=True)
            new.rename(place)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return board


def _wheels(given: Path | None, new: Path, python: bool, tell: Tell) -> list[Path]:  # noqa: FBT001 - internal
    """ONNX Runtime's wheel or library, and numpy's wheel where there is Python."""
    names = [packages.ONNXRUNTIME, *([packages.NUMPY] if python else [])]
    if given is None:
        pinned = [f"{name}=={version}" if (version := packages.own_version(name)) else name for name in names]
        tell(f"fetching {' and '.join(pinned)} for 64-bit ARM with pip, from the index that it is set to")
        return packages.fetch(pinned, new / "wheels")
    if given.is_dir():
        found = [packages.given_in(given, name) for name in names]
        missing = [name for name, wheel in zip(names, found, strict=True) if wheel is None]
        if missing:
            raise UsageError(
                f"The folder has no wheel for 64-bit ARM of {' and '.join(missing)}",
                where=f"--onnxruntime {given}",
            )
        return [wheel for wheel in found if wheel is not None]
    if not given.is_file():
        raise UsageError("There is no such file", where=f"--onnxruntime {given}")
    if not python:
        return [given]
    pinned = [
        f"{packages.NUMPY}=={version}"
        if (version := packages.own_version(packages.NUMPY))
        else packages.NUMPY
    ]
    tell(f"fetching {pinned[0]} for 64-bit ARM with pip, from the index that it is set to")
    return [given, *packages.fetch(pinned, new / "wheels")]


def _fill(new: Path, wheels: list[Path], python: bool, tell: Tell) -> None:  # noqa: FBT001 - internal
    """Libraries, ONNX Runtime and, where asked for, Python."""
    (new / "runtime").mkdir()
    library = packages.runtime(wheels[0], new / "runtime")
    if library.parent != new / "runtime":
        shutil.copyfile(library, new / "runtime" / "libonnxruntime.so")
    if not python:
        userland.of_compiler(new / "root")
        return
    tell(
        "fetching Debian's Python and C library for 64-bit ARM with mmdebstrap, about 30 MB from deb.debian.org"
    )
    userland.of_debian(new / "root")
    for wheel in wheels:
        packages.unpack(wheel, new / "packages")
