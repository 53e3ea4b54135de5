"""Bundles that were changed together with their manifest: what only running them finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edgepack.toolchain import files


def rewrite(bundle: Path, name: str, change: Callable[[Path], object]) -> None:
    """Change a file of a bundle, and the manifest's hash of it."""
    change(bundle / name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    found = files.hash_file(bundle / name)
    manifest["files"][name] = {"sha256": found.sha256, "size_bytes": found.size_bytes}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
