"""What other distributions were to add, and what of it cannot be used: for `edgepack targets` and `edgepack doctor`.

A plugin that breaks brings nothing and takes nothing with it: everything else works, and this says what is missing.
"""

from __future__ import annotations

from edgepack.toolchain.errors import EdgepackError


def problems() -> list[EdgepackError]:
    """One error for every plugin that brings targets, sessions or the like and cannot be loaded, imported now."""
    from edgepack.quantize.base import quantizers
    from edgepack.runtime.sessions.base import sessions
    from edgepack.targets.base import targets
    from edgepack.toolchain.passes.base import passes
    from edgepack.toolchain.rewrites.base import rewrites

    found = [targets.problems, sessions.problems, quantizers.problems, passes.problems, rewrites.problems]
    return [problem for registry in found for problem in registry.values()]
