"""d_ij = ||a_i - b_j||_p, from the differences of all pairs.

torch multiplies matrices for large p = 2 problems, which cancels; here differences are taken unless both
numbers of rows are known to be large, where the differences would need too much memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch

_LARGE_ROWS = 512
_USE_MM, _DONT_USE_MM = 1, 2
_EUCLIDEAN = 2.0


@decompositions.register("aten.cdist.default")
def cdist(
    a: torch.Tensor, b: torch.Tensor, p: float = _EUCLIDEAN, compute_mode: int | None = None
) -> torch.Tensor:
    """Distances [..., n, m] between the rows of a [..., n, d] and of b [..., m, d]."""
    import torch

    rows = (a.shape[-2], b.shape[-2])
    large = all(isinstance(n, int) and n >= _LARGE_ROWS for n in rows) and compute_mode != _DONT_USE_MM
    if p == _EUCLIDEAN and (large or compute_mode == _USE_MM):
        squares = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
        return torch.sqrt(torch.clamp(squares - 2.0 * (a @ b.mT), min=0.0))
    return _norm(a.unsqueeze(-2) - b.unsqueeze(-3), p)


@decompositions.register("aten._cdist_forward.default")
def cdist_forward(a: torch.Tensor, b: torch.Tensor, p: float, compute_mode: int | None) -> torch.Tensor:
    """The same, under the name that torch's own composition calls."""
    distances: torch.Tensor = cdist(a, b, p, compute_mode)
    return distances


@decompositions.register("aten.pdist.default")
def pdist(x: torch.Tensor, p: float = _EUCLIDEAN) -> torch.Tensor:
    """Distances between all pairs of rows i < j of x [n, d], row by row."""
    import torch

    n = x.shape[0]
    positions = torch.arange(n, device=x.device)
    rows = positions.unsqueeze(1).expand(n, n).reshape(-1)
    columns = positions.unsqueeze(0).expand(n, n).reshape(-1)
    # The pairs' places among all n^2, in order; the others' go behind them.
    places = torch.arange(n * n, device=x.device)
    places = torch.where(rows < columns, places, places + n * n)
    chosen = torch.sort(places)[0].narrow(0, 0, n * (n - 1) // 2)
    return _norm(x[rows[chosen]] - x[columns[chosen]], p)


def _norm(difference: torch.Tensor, p: float) -> torch.Tensor:
    size = difference.abs()
    if p == 0:
        return (size != 0).to(size.dtype).sum(-1)
    if p == 1:
        return size.sum(-1)
    if p == _EUCLIDEAN:
        return size.square().sum(-1).sqrt()
    if math.isinf(p):
        return size.amax(-1)
    return size.pow(p).sum(-1).pow(1.0 / p)
