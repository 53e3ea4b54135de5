"""`edgepack doctor`: what this installation can do, and the command for what it cannot."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from edgepack.toolchain.cache import Cache

Status = Literal["ok", "missing", "optional", "warning"]
_MIN_FREE = 2 << 30
# What the main job imports besides the targets' own requirements.
_CORE = (
    "torch",
    "transformers",
    "optimum",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "numpy",
    "safetensors",
    "tokenizers",
)

_EXTRA = "edgepack["
"""In a command that installs an extra, which the default installation does without."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        subject: What was looked at.
        status: "ok", "missing", "warning", or "optional" for what only who wants it installs: an extra, or an
            isolated environment that nobody has made yet.
        detail: Version, path or reason.
        command: What cures it, if something does.
    """

    subject: str
    status: Status
    detail: str
    command: str | None = None


def examine() -> list[Finding]:
    """Look at Python, the packages, every target's toolchain, the cache and the disk."""
    found = [Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")]
    found += [_distribution(name) for name in _CORE]
    from edgepack.toolchain.installed import list_targets
    from edgepack.toolchain.plugins import problems

    status: Status
    for target in list_targets():
        missing = [name for name, version in target.versions.items() if version is None]
        present = ", ".join(f"{name} {version}" for name, version in target.versions.items() if version)
        if target.problem:
            found.append(Finding(target.name, "warning", f"broken: {target.problem}"))
        elif target.installed:
            found.append(Finding(target.name, "ok", present))
        elif target.isolated is not None:
            status = "optional" if target.isolated == "absent" else "warning"
            found.append(
                Finding(target.name, status, f"isolated environment {target.isolated}", target.command)
            )
        else:
            status = "optional" if _EXTRA in (target.command or "") else "missing"
            found.append(Finding(target.name, status, f"needs {', '.join(missing)}", target.command))
    found += [Finding("plugin", "warning", str(problem)) for problem in problems()]
    found += [_native_kernels(), _cache()]
    return found


def _distribution(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"pip install {name}")


def _native_kernels() -> Finding:
    """Binary layers run without them too, as ordinary operators: their absence is no fault."""
    from edgepack.runtime import kernels
    from edgepack.runtime.kernels import build

    subject = "native kernels"
    reason = kernels.why_not()
    if reason is None:
        best, *others = kernels.available()
        chosen = os.environ.get("EDGEPACK_KERNEL") or best
        rest = ", ".join(name for name in (best, *others) if name != chosen)
        return Finding(subject, "ok", f"{chosen}; this processor also runs {rest}" if rest else chosen)
    if kernels.library_path().is_file() or os.fspath(kernels.library_path()) == kernels.OFF:
        return Finding(subject, "warning", reason)
    missing = build.what_is_missing()
    detail = f"not built: there is no {missing}" if missing else "not built"
    return Finding(subject, "warning", detail, "python -m edgepack.runtime.kernels.build")


def _cache() -> Finding:
    cache = Cache()
    place = cache.root
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Finding(
            "cache", "warning", f"{cache.root} cannot be written", "export EDGEPACK_CACHE=<a folder>"
        )
    free = shutil.disk_usage(place).free
    info = cache.info()
    detail = (
        f"{info.root}: {info.entries} entries, {info.size_bytes / 2**20:.0f} MiB, {free / 2**30:.1f} GiB free"
    )
    return Finding("cache", "ok" if free > _MIN_FREE else "warning", detail)
