"""Where peers' forms are kept, `build/bench-peers`: made once for one state of the code, the packages and the model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from edgepack.toolchain.subprocesses import run_tool
from edgepack.toolchain.vendors.openvino_ir import QUIET
from tests.benchmarks.peers import base, models

STORE = models.ROOT / "build" / "bench-peers"
KEY = "key.json"
_SOURCES = ("base.py", "models.py")
_LIMIT_S = 3600.0
_RAW_PACKAGES = ("torch", "onnxscript", "transformers")


def raw(task: str) -> Path:
    """The ONNX file of torch's own exporter."""
    versions = {name: metadata.version(name) for name in _RAW_PACKAGES}
    return _made(task, "raw", versions, []) / base.RAW


def forms(task: str, peer_name: str) -> list[tuple[str, Path]]:
    """A peer's forms of a task and their folders; what could not be made says so in its folder."""
    peer = base.peer(peer_name)
    start = [str(raw(task))] if peer.takes_raw else []
    folder = _made(task, peer_name, peer.versions(), start)
    return [(form, folder / str(index)) for index, form in enumerate(peer.forms(models.TASKS[task]))]


def key(what: str, versions: dict[str, str]) -> dict[str, object]:
    """All that decides what is made."""
    here = Path(__file__).parent
    sources = [*_SOURCES, *([f"{what}.py"] if what in base.PEERS else [])]
    hashes = {name: hashlib.sha256((here / name).read_bytes()).hexdigest() for name in sources}
    return {"sources": hashes, "versions": versions}


def _made(task: str, what: str, versions: dict[str, str], start: list[str]) -> Path:
    folder = STORE / task.replace(" ", "-") / what
    wanted = key(what, versions)
    if (folder / KEY).is_file() and json.loads((folder / KEY).read_text()) == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.benchmarks.peers.build", task, what, str(folder), *start]
    run_tool(
        what,
        command,
        time_limit_s=_LIMIT_S,
        cwd=models.ROOT,
        env={**QUIET, "PYTHONPATH": os.pathsep.join([str(models.ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    (folder / KEY).write_text(json.dumps(wanted, indent=1))
    return folder
