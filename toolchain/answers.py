"""What a worker process hands back: a JSON file with its result, or with the error to raise in the parent."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain import errors
from edgepack.toolchain.errors import EdgepackError, ExportError

ANSWER_FILE = "answer.json"


def write_answer(path: Path, work: Callable[[], Mapping[str, Any]]) -> None:
    """Do the work and write {"ok": true, ...its result} or the EdgepackError that it raised.

    The file appears whole or not at all. Other exceptions pass: they end the worker, and the parent
    reports its last words.
    """
    try:
        answer = {"ok": True, **work()}
    except EdgepackError as error:
        answer = {
            "ok": False,
            "type": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "todo": error.todo,
            "trace": traceback.format_exc(),
        }
    _write(path, answer)


def write_words(path: Path, work: Callable[[], Mapping[str, Any]]) -> None:
    """As `write_answer`, round a tool that raises anything: {"ok": false, "what": its first 500 characters}."""
    try:
        answer = {"ok": True, **work()}
    except Exception as error:  # noqa: BLE001 - the parent gets its words
        answer = {"ok": False, "what": f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]}
    _write(path, answer)


def _write(path: Path, answer: Mapping[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(json.dumps(answer))
    temporary.rename(path)


def read_answer(path: Path) -> dict[str, Any]:
    """The answer as it was written; `error_in` says whether it is an error."""
    answer: dict[str, Any] = json.loads(path.read_text())
    return answer


def error_in(answer: Mapping[str, Any]) -> EdgepackError | None:
    """The error that the worker wrote down, in its own class, or None."""
    if answer["ok"]:
        return None
    kind: Any = getattr(errors, str(answer["type"]), ExportError)
    if not (isinstance(kind, type) and issubclass(kind, EdgepackError)):
        kind = ExportError
    return errors.rebuild(kind, answer["what"], answer["where"], answer["todo"])
