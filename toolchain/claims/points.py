"""Measured points in a folder, one file each: what was measured is not lost, nor measured again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgepack.toolchain.claims.results import Point

# Raise when the meaning of a stored point changes.
_FORMAT = 1


class Points:
    """The points of one model size.

    Args:
        folder: Made when the first point is written.
        key: Everything besides the point's own setting that a measurement depends on: models, machine, rounds.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self._folder = folder / "points"
        self._key = {"format": _FORMAT, **key}

    def path(self, at: Mapping[str, int | str]) -> Path:
        """The point's file; its name begins with the setting and ends with a digest of the key."""
        digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()[:12]
        return self._folder / f"{'-'.join(map(str, at.values()))}.{digest}.json"

    def read(self, at: Mapping[str, int | str]) -> Point | None:
        """The point, if it was measured before; a damaged file counts as none."""
        try:
            return Point.model_validate_json(self.path(at).read_text())
        except (OSError, ValidationError):
            return None

    def write(self, point: Point) -> None:
        """Write a point whole or not at all."""
        path = self.path(point.at)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(point.model_dump_json(indent=1))
        temporary.replace(path)
