"""A = U diag(s) V^T by one-sided Jacobi: columns of A are turned in pairs until all are orthogonal.

    zeta = (|a_q|^2 - |a_p|^2) / (2 a_p . a_q),  t = sign(zeta) / (|zeta| + sqrt(1 + zeta^2)),
    c = 1 / sqrt(1 + t^2),  a_p <- c a_p - c t a_q,  a_q <- c t a_p + c a_q,  and V's columns alike

after which s_i = |a_i| and u_i = a_i / s_i. The sweeps over all pairs are the steps of one Scan, a fixed
number of them. For matrices whose smaller side is known and at most `MAX_COLUMNS`. The vectors of a singular
value that is exactly zero are zeros: not the orthonormal completion that torch makes.
Source: Golub and Van Loan, Matrix Computations, 4th edition, 8.6.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch

MAX_COLUMNS = 8
"""Largest smaller side of a matrix; a sweep has 28 rotations then."""

SWEEPS = 10
"""Jacobi converges quadratically: for 8 columns 6 sweeps leave float32, and 8 float64, unchanged."""


@decompositions.register("aten._linalg_svd.default")
def svd(
    a: torch.Tensor,
    full_matrices: bool = False,  # noqa: FBT001, FBT002 - torch's schema
    compute_uv: bool = True,  # noqa: FBT001, FBT002 - torch's schema
    *,
    driver: str | None = None,  # noqa: ARG001 - torch's schema
) -> Any:
    """U [..., m, k], s [..., k] descending and V^T [..., k, n], k the smaller side; reduced form only."""
    import torch

    m, n = a.shape[-2:]
    sides = [side for side in (m, n) if isinstance(side, int)]
    if not sides or min(sides) > MAX_COLUMNS or a.is_complex():
        return NotImplemented
    # An unknown side is taken for the larger one: the smaller has to be known.
    wide = (m < n) if len(sides) == 2 else isinstance(m, int)  # noqa: PLR2004
    if len(sides) < 2 or (full_matrices and compute_uv and m != n):  # noqa: PLR2004
        return NotImplemented
    left, values, right = _jacobi(a.mT if wide else a)
    if wide:
        left, right = right, left
    if not compute_uv:
        nothing = torch.empty(0, dtype=a.dtype, device=a.device)
        return nothing, values, nothing.clone()
    return left, values, right.mT


def _jacobi(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U, s and V of a [..., m, n] with m >= n."""
    import torch
    from torch._higher_order_ops.scan import scan_op

    n = int(a.shape[-1])

    def sweep(both: torch.Tensor, zero: torch.Tensor) -> list[torch.Tensor]:
        columns = [both[..., i] for i in range(n)]
        for p in range(n - 1):
            for q in range(p + 1, n):
                columns[p], columns[q] = _turned(columns[p], columns[q], a.shape[-2])
        return [torch.stack(columns, -1), zero.clone()]

    # A on top of V: what turns the one turns the other.
    unit = torch.eye(n, dtype=a.dtype, device=a.device).expand(*a.shape[:-2], n, n)
    start = torch.cat([a, unit], -2)
    both = scan_op(sweep, [start], [torch.zeros(SWEEPS, dtype=a.dtype, device=a.device)], ())[0]
    turned, right = both[..., : a.shape[-2], :], both[..., a.shape[-2] :, :]
    values = turned.square().sum(-2).sqrt()
    values, order = torch.sort(values, -1, descending=True)
    turned = turned.gather(-1, order.unsqueeze(-2).expand_as(turned))
    right = right.gather(-1, order.unsqueeze(-2).expand_as(right))
    length = values.unsqueeze(-2)
    return torch.where(length == 0, 0.0, turned / torch.where(length == 0, 1.0, length)), values, right


def _turned(p: torch.Tensor, q: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two columns, their first `rows` elements made orthogonal."""
    import torch

    x, y = p[..., :rows], q[..., :rows]
    product = (x * y).sum(-1, keepdim=True)
    flat = product == 0
    zeta = (y.square().sum(-1, keepdim=True) - x.square().sum(-1, keepdim=True)) / torch.where(
        flat, 1.0, 2.0 * product
    )
    sign = torch.where(zeta < 0, -1.0, 1.0).to(p.dtype)
    t = torch.where(flat, 0.0, sign / (zeta.abs() + torch.sqrt(1.0 + zeta.square())))
    c = 1.0 / torch.sqrt(1.0 + t.square())
    return c * p - c * t * q, c * t * p + c * q
