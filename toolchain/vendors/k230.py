"""What the folders share of Kendryte's K230: the isolated environment, its worker, what a shipped file says of itself.

A compiled part is two files: `<part>_k230.kmodel`, which the chip's runtime opens, and beside it, because a `.kmodel`
knows its inputs and outputs only by number::

    <part>_k230.json    {"inputs": [names], "outputs": [names], "kmodel": sha256, "version": of the compiler}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.dotnet import DotNet
from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import SourceError, ToolchainMissingError
from edgepack.toolchain.vendors.isolated_worker import Worker

DISTRIBUTION = "nncase"
PLUGIN = "nncase-kpu"
SETUP = "edgepack setup npu:k230"
DOTNET = DotNet(7)
"""nncase 2.11.0 is built for .NET 7 and runs on later ones."""
ENVIRONMENT = IsolatedEnvironment(
    "k230", Path(__file__).with_name("k230_requirements.txt"), (11, 13), companions=(DOTNET,)
)
WORKER = Worker(DISTRIBUTION, ENVIRONMENT, SETUP, Path(__file__).with_name("_k230_worker.py"))
SIMULATOR = "nncase.simulator.k230.sc"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where shm_open puts blocks on Linux
_BLOCK = re.compile(r"[0-9a-f]{16,64}")
_KEYS = {"inputs", "outputs", "kmodel", "version"}


def dotnet_root() -> str:
    """The folder of the .NET runtime that the worker is to use.

    Raises:
        ToolchainMissingError: The one that was there when the environment was made is gone.
    """
    found = DOTNET.find(ENVIRONMENT.folder)
    if found is None:
        raise ToolchainMissingError(
            f"{DISTRIBUTION} needs Microsoft's .NET {DOTNET.least} or newer, which is not here",
            where=str(ENVIRONMENT.folder),
            todo=f"Run: {SETUP}",
        )
    return str(found.root)


def simulators(group: int) -> list[Path]:
    """Shared memory of the simulators that run in a process group now: whoever ends them must remove it.

    The simulator is a program of its own for every call, and is told the names of its two blocks of memory, one of
    2 GiB. It removes them when it ends by itself.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            of_group = os.getpgid(int(folder.name)) == group
        except OSError:  # it has just ended
            continue
        if of_group and any(Path(word).name == SIMULATOR for word in words):
            found += [SHARED_MEMORY / word for word in words if _BLOCK.fullmatch(word)]
    return found


def note(path: Path, facts: Mapping[str, Any]) -> Path:
    """Write what a `.kmodel` does not say of itself beside it."""
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(dict(facts), sort_keys=True, indent=1) + "\n", encoding="utf-8")
    return beside


def facts_of(path: Path) -> dict[str, Any]:
    """What `note` wrote.

    Raises:
        SourceError: There is no such file, it is none of these, or belongs to another `.kmodel`.
    """
    from edgepack.toolchain.files import hash_file

    beside = path.with_suffix(".json")
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
        if set(facts) != _KEYS or not all(isinstance(facts[side], list) for side in ("inputs", "outputs")):
            raise ValueError("it does not name inputs and outputs")
        if hash_file(path).sha256 != facts["kmodel"]:
            raise ValueError("it belongs to another .kmodel")
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(
            f"{beside.name}, which says what {path.name} takes and gives, cannot be used: "
            f"{' '.join(str(error).split())[:200]}",
            where=str(path),
            todo="Export the model again",
        ) from error
    return dict(facts)
