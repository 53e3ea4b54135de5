"""Which values may not be finite: minus infinity, by which models exclude (a token that may not come, the log of zero).

NaN and plus infinity are what overflow and broken weights give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def sound(values: np.ndarray) -> bool:
    """Whether a floating-point array of any shape holds neither NaN nor plus infinity, and not minus infinity alone."""
    import numpy as np

    finite = np.isfinite(values)
    return bool((finite | np.isneginf(values)).all() and (finite.any() or not values.size))


def excluded(values: np.ndarray) -> np.ndarray:
    """Where a floating-point array is minus infinity: booleans of its shape."""
    import numpy as np

    where: np.ndarray = np.isneginf(values)
    return where


def unlike(reference: np.ndarray, got: np.ndarray) -> str | None:
    """What no comparison of two floating-point arrays of one shape may pass over, in words, or None."""
    import numpy as np

    for values, whose in ((reference, "the reference"), (got, "the result")):
        bad = int(values.size - (np.isfinite(values) | excluded(values)).sum())
        if bad:
            return f"{bad} of {values.size} values of {whose} are NaN or infinite"
    different = int((excluded(reference) != excluded(got)).sum())
    return (
        f"{different} of {got.size} values are minus infinity in one and not in the other"
        if different
        else None
    )
