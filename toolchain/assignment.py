"""Assignment files: which form every layer of a model takes, as `edgepack search` writes and export reads it.

    {"format": 1, "parts": {"main": {"node name": "int8-dynamic", ...}}}

A node that is not named stays in fp32. Every part must be named; one with {} stays in fp32 as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from edgepack.toolchain.errors import UsageError

_TODO = "Give a file that edgepack search wrote, or one of the form of docs/search.md"


def write_assignment(path: Path, parts: Mapping[str, Mapping[str, str]]) -> None:
    """Write forms by part and node name."""
    data = {"format": 1, "parts": {name: dict(forms) for name, forms in parts.items()}}
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def read_assignment(path: Path) -> dict[str, dict[str, str]]:
    """Forms by part and node name; whether there are such nodes and forms is the quantizer's to say.

    Raises:
        UsageError: The file cannot be read, or is no assignment.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The assignment cannot be read: {error}", where=str(path), todo=_TODO) from error
    parts = data.get("parts") if isinstance(data, Mapping) and data.get("format") == 1 else None
    if not isinstance(parts, Mapping) or not any(parts.values()):
        raise UsageError("The file holds no assignment", where=str(path), todo=_TODO)
    for name, forms in parts.items():
        texts = isinstance(forms, Mapping) and all(isinstance(form, str) for form in forms.values())
        if not texts:
            raise UsageError(
                f"The assignment of part '{name}' is no mapping of node names to forms",
                where=str(path),
                todo=_TODO,
            )
    return {name: dict(forms) for name, forms in parts.items()}
