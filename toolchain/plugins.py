"""What other distributions were to add, and what of it cannot be used: for `edgepack targets` and `edgepack doctor`.

A plugin that breaks brings nothing and takes nothing with it: everything else works, and this says what is missing.
"""

from __future__ import annotations

from edgepack.toolchain.errors import EdgepackError


def problems() -> list[EdgepackError]:
    """One error for every plugin of targets, sessions, quantizers or passes that cannot be loaded, imported now."""
    from edgepack.quantize.base import quantizers
    from edgepack.runtime.sessions.base import sessions
    from edgepack.targets.base import targets
    from edgepack.toolchain.passes.base import passes

    found = [targets.problems, sessions.problems, quantizers.problems, passes.problems]
    return [problem for registry in found for problem in registry.values()]
