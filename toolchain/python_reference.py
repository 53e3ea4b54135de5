"""`package.module:name` and `file.py:name`: objects of the user's own code, imported because they asked for it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from edgepack.toolchain.errors import UsageError


def load_object(reference: str, *, what: str, todo: str) -> Any:
    """The object that a reference names.

    Args:
        reference: "package.module:name" or "path/file.py:name", with or without "python:" before it.
        what: What it is for ("metric"), for the message.
        todo: What the reader can do when it cannot be had.

    Raises:
        UsageError: It cannot be imported, or has no such name.
    """
    location, _, name = reference.removeprefix("python:").rpartition(":")
    try:
        if location.endswith(".py"):
            path = Path(location).resolve()
            # Two files of one name are two modules.
            unique = hashlib.sha256(str(path).encode()).hexdigest()[:8]
            spec = importlib.util.spec_from_file_location(f"edgepack_user_{path.stem}_{unique}", path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{location} cannot be loaded as Python")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            if str(Path.cwd()) not in sys.path:
                sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(location)
        return getattr(module, name)
    except Exception as error:
        raise UsageError(
            f"The {what} cannot be loaded: {type(error).__name__}: {error}", where=reference, todo=todo
        ) from error
