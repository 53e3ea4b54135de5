"""report.json: the manifest without its file hashes, for programs.

Pure ASCII, so that a lone surrogate (a file name that is not UTF-8) survives; a figure that is not
a finite number becomes null, because JSON has no word for it.
"""

from __future__ import annotations

import json
import math

from edgepack.toolchain.results import Manifest


def machine(manifest: Manifest) -> str:
    """The text of report.json."""
    return json.dumps(finite(manifest.model_dump(exclude={"files"})), indent=1, allow_nan=False) + "\n"


def finite(value: object) -> object:
    """The value with null for every figure that is not a finite number, ready for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, (str, int)) or value is None:
        return value
    return str(value)  # a recipe may hold paths and the like
