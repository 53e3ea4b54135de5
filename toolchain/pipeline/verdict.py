"""A rewritten graph that failed its gate, kept in the cache: the verdict holds as long as the code does.

A target's own lowering that fails is an error to report, and is tried again. A rewrite that fails is left out, with a
warning, and the run goes on: to lower, run and compare the same graph in every run would only find the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepack.toolchain.errors import GateError

VERDICT_FILE = "refused.json"


@contextmanager
def kept_verdict(folder: Path, *, keep: bool) -> Iterator[None]:
    """Write down a GateError instead of raising it, and keep nothing else of the stage; raise it unless `keep`."""
    try:
        yield
    except GateError as error:
        if not keep:
            raise
        for file in folder.iterdir():
            if file.is_file():
                file.unlink()
        words = {"what": error.what, "where": error.where, "todo": error.todo}
        (folder / VERDICT_FILE).write_text(json.dumps(words))


def raise_verdict(folder: Path) -> None:
    """Raise the GateError that a stage holds, if it holds one."""
    path = folder / VERDICT_FILE
    if path.exists():
        words = json.loads(path.read_text())
        raise GateError(words["what"], where=words["where"], todo=words["todo"])
