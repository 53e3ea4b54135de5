"""Where trained models are kept: `build/trained/`, one entry for everything that decides the weights.

The key holds the code's syntax (comments and docstrings do not count), the data's hashes, the settings, and torch's
version. Entries are those of edgepack's own cache: written aside, renamed when whole, hashed, and checked
at the first use, so that a killed training or a damaged file is trained again; two processes that want one model
train it once.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepack.toolchain.cache import Cache
from edgepack.toolchain.files import hash_file

ROOT = Path(__file__).resolve().parents[2] / "build" / "trained"
_NOT_CODE = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def _store() -> Cache:
    store = Cache(ROOT)
    atexit.register(store.close)
    return store


def trained(
    code: Iterable[str],
    data: Iterable[Path],
    settings: Mapping[str, Any],
    train: Callable[[Path], object],
    store: Cache | None = None,
) -> Path:
    """The folder that `train` filled, now or in an earlier run.

    Args:
        code: Names of the files beside this one that decide the weights.
        data: Files that the model is trained on.
        settings: Whatever else decides the weights.
        train: Writes the weights into the empty folder that it is given.
        store: Another place than `ROOT`.
    """
    key = {
        "code": {name: syntax(source(name)) for name in sorted(code)},
        "data": {path.name: hash_file(path).sha256 for path in data},
        "settings": dict(settings),
        "torch": metadata.version("torch"),
    }
    return (store or _store()).stage(key, train)[0]


def source(name: str) -> str:
    """The text of a file beside this one, or of one that is named from here."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def syntax(text: str) -> str:
    """A hash of what a source file does: formatting, comments and docstrings change nothing."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, _NOT_CODE) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
