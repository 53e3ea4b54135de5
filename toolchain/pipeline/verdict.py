"""What a tool or a gate said against a graph, kept in the cache: the verdict holds as long as code and versions do.

A target's own lowering or compilation that fails is an error to report, and is tried again. A rewrite that fails is
left out and the run goes on: to lower, quantize, compile and compare the same graph in every run would only find the
same. So its verdict is kept, as is that of a compiler which left everything off its accelerator. What says nothing of
the graph is never kept: a tool that is missing, could not start, was killed, or reached its time limit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepack.toolchain.errors import (
    DeviceError,
    EdgepackError,
    GateError,
    NothingPlacedError,
    TargetError,
    ToolchainFailedError,
    ToolchainMissingError,
    ToolchainStoppedError,
)
from edgepack.toolchain.results import Placement, StageRecord

VERDICT_FILE = "refused.json"

_KINDS: dict[str, type[EdgepackError]] = {
    kind.__name__: kind for kind in (GateError, NothingPlacedError, ToolchainFailedError, TargetError)
}
"""Narrow ones before those that they are a kind of."""
_OF_THE_MOMENT = (DeviceError, ToolchainMissingError, ToolchainStoppedError)


@contextmanager
def kept_verdict(folder: Path, record: StageRecord, *kinds: type[EdgepackError]) -> Iterator[None]:
    """Write down an error of these kinds instead of raising it, and keep nothing else of the stage.

    Args:
        folder: Of the stage.
        record: Gets the error's words as its detail.
        kinds: What is kept; of them never what says nothing of the graph.
    """
    try:
        yield
    except kinds as error:
        if isinstance(error, _OF_THE_MOMENT):
            raise
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        said = {
            "kind": next(name for name, kind in _KINDS.items() if isinstance(error, kind)),
            "what": error.what,
            "where": error.where,
            "todo": error.todo,
            "placement": error.placement.model_dump() if isinstance(error, NothingPlacedError) else None,
        }
        (folder / VERDICT_FILE).write_text(json.dumps(said))
        record.detail = f"refused: {error.what}"


def raise_verdict(folder: Path) -> None:
    """Raise the error that a stage holds, if it holds one."""
    path = folder / VERDICT_FILE
    if not path.exists():
        return
    said = json.loads(path.read_text())
    error = _KINDS[said["kind"]](said["what"], where=said["where"], todo=said["todo"])
    if isinstance(error, NothingPlacedError):
        error.placement = Placement.model_validate(said["placement"])
    raise error
