"""AWQ: finds factors that make the weights of the loudest inputs larger before they are rounded.

For all products of an input x, with m_j the mean of |x_j| over the samples (Lin et al. 2023, arXiv:2306.00978,
section 3.2):

    x W = (x / f) (f W),        f_j = m_j^a / sqrt(max_j m_j^a * min_j m_j^a)

and a of 0, 0.05, ... 0.95 such that rounding f W costs the products least, sum |(x / f) Q(f W) - x W|^2. The sum is
taken exactly over all samples, by their second moments (`_onnx_gram`). AWQ's second half, a search for clipped
ranges, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize._onnx_gram import Moments

STEPS = 20
_SMALLEST = 1e-4  # share of the largest mean below which inputs count as equally quiet


def awq_factors(
    weights: Sequence[np.ndarray], moments: Moments, rounded: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray | None:
    """Factors f, float32 [K], for all products of one input; None when no factors are best.

    Args:
        weights: The weights [K, N] of the products.
        moments: Of their input.
        rounded: From a float32 weight to what is left of it after quantization.
    """
    import numpy as np

    best, least = None, sum(_cost(rounded(weight) - weight, moments.gram) for weight in weights)
    peak = float(moments.magnitude.max())
    if not np.isfinite(peak) or peak <= 0:
        return None
    loud = np.maximum(moments.magnitude / peak, _SMALLEST)
    for step in range(1, STEPS):
        raised = loud ** (step / STEPS)
        factors = (raised / np.sqrt(raised.max() * raised.min())).astype(np.float32)[:, None]
        cost = sum(_cost(rounded(weight * factors) / factors - weight, moments.gram) for weight in weights)
        if cost < least:
            best, least = factors[:, 0], cost
    return best


def output_error(weight: np.ndarray, other: np.ndarray, moments: Moments) -> float:
    """What a weight W' in the place of W costs: sum |x W' - x W|^2 over all samples."""
    return _cost(other - weight, moments.gram)


def _cost(difference: np.ndarray, gram: np.ndarray) -> float:
    """tr(D^T G D)."""
    import numpy as np

    return float(np.vdot(difference, gram.astype(np.float32) @ difference))
