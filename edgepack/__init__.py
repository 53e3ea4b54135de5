"""edgepack: a model in, verified artifacts for a CPU, an NPU and a mobile runtime out.

    import edgepack

    bundle = edgepack.export("path/to/model", targets=["cpu", "mobile"], out="build/model")
    for artifact in bundle.artifacts:
        print(artifact.target, artifact.precision, artifact.latency.p50_ms)

Everything that the command line does is one call here. Names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepack.toolchain.api import (
        doctor,
        explain,
        export,
        farm,
        list_targets,
        load,
        open_program,
        profile,
        verify,
    )
    from edgepack.toolchain.bundle import Bundle
    from edgepack.toolchain.errors import EdgepackError
    from edgepack.toolchain.recipe import Recipe
    from edgepack.toolchain.results import Manifest

_HOMES = {
    "Bundle": "edgepack.toolchain.bundle",
    "EdgepackError": "edgepack.toolchain.errors",
    "Manifest": "edgepack.toolchain.results",
    "Recipe": "edgepack.toolchain.recipe",
    "doctor": "edgepack.toolchain.api",
    "explain": "edgepack.toolchain.api",
    "export": "edgepack.toolchain.api",
    "farm": "edgepack.toolchain.api",
    "load": "edgepack.toolchain.api",
    "list_targets": "edgepack.toolchain.api",
    "open_program": "edgepack.toolchain.api",
    "profile": "edgepack.toolchain.api",
    "verify": "edgepack.toolchain.api",
}

__all__ = [
    "Bundle",
    "EdgepackError",
    "Manifest",
    "Recipe",
    "doctor",
    "explain",
    "export",
    "farm",
    "list_targets",
    "load",
    "open_program",
    "profile",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'edgepack' has no attribute '{name}'"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
