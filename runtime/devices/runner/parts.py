"""Opening the parts that a request names: hashes first, then sessions, then the program that links them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions.base import Session, sessions
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Signature, StateLink

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]


def check_hashes(request: Mapping[str, Any]) -> None:
    """Compare every file of the request with its SHA-256, before a runtime opens one.

    Raises:
        DeviceError: A file is another one, or missing.
    """
    for name, sha256 in request["sha256"].items():
        path = Path(name)
        if not path.is_file() or files.hash_file(path).sha256 != sha256:
            raise DeviceError(
                f"The file {name} on the device is not the one that was sent", todo="Check the device's disk"
            )


def prepare(request: Mapping[str, Any], names: Sequence[str]) -> None:
    """Import the runtimes of some parts."""
    for kind in {part["session"] for part in request["parts"] if part["name"] in names}:
        sessions.get(kind).prepare()


@contextlib.contextmanager
def opened(request: Mapping[str, Any], names: Sequence[str], threads: int) -> Iterator[dict[str, Session]]:
    """Sessions of some parts, by name."""
    with contextlib.ExitStack() as stack:
        yield {
            part["name"]: stack.enter_context(
                sessions.get(part["session"])(
                    Path(part["file"]), Signature.from_json(part["signature"]), threads=threads
                )
            )
            for part in request["parts"]
            if part["name"] in names
        }


def program(request: Mapping[str, Any], opened_parts: Mapping[str, Session]) -> StatefulProgram:
    """The parts with their states kept between calls."""
    links = [StateLink(**link) for link in request["links"]]
    initial: dict[str, Arrays] = {}
    if request["initial"]:
        for key, value in load(request["initial"]).items():
            part, _, state = key.partition("/")
            initial.setdefault(part, {})[state] = value
    signatures = {name: session.signature for name, session in opened_parts.items()}
    return StatefulProgram(signatures, links, lambda part, feed: opened_parts[part].run(feed), initial)


def load(name: str) -> Arrays:
    """The arrays of an .npz file."""
    import numpy as np

    with np.load(name, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def feeds(name: str) -> list[Arrays]:
    """The inputs of recorded calls, "<index>/in/<input>"; a call without inputs of its own is an empty one."""
    found: dict[int, Arrays] = {}
    for key, value in load(name).items():
        index, side, tensor = key.split("/", 2)
        call = found.setdefault(int(index), {})
        if side == "in":
            call[tensor] = value
    return [found.get(index, {}) for index in range(max(found, default=-1) + 1)]
