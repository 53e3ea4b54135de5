"""What other processes found out about candidates, so that this one need not try again.

What was built is in the cache. What failed, and what was turned down for want of time, is only told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgepack.toolchain.errors import EdgepackError


@dataclass
class Known:
    """Of some targets all there is to know but their artifacts.

    Attributes:
        targets: Names of the targets that were tried.
        errors: By target, part and precision; part and precision are None where nothing got so far.
        not_built: Why a precision was turned down, by target, part and precision.
    """

    targets: set[str] = field(default_factory=set)
    errors: dict[tuple[str, str | None, str | None], EdgepackError] = field(default_factory=dict)
    not_built: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def refused(self, target: str, part: str) -> EdgepackError | None:
        """Why a target gave nothing at all for a part, if so."""
        return self.errors.get((target, None, None)) or self.errors.get((target, part, None))
