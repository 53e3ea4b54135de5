"""P A = L U by elimination with partial pivoting, and what is done with the factors.

L and U are kept in one matrix, L's ones not stored; pivots name the row that was swapped with each, from 1. For
square matrices of a known order up to `MAX_UNROLLED`. Source: Golub and Van Loan, Matrix Computations, 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions
from edgepack.exporters.decompositions.elimination import known_order
from edgepack.exporters.decompositions.triangular import solve_triangular

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.linalg_lu_factor.default")
def lu_factors_only(a: torch.Tensor, *, pivot: bool = True) -> Any:
    """L and U in one matrix, and the rows that were swapped; torch's own form ends in a check that has no graph."""
    made = lu_factors(a, pivot=pivot)
    return made if made is NotImplemented else made[:2]


@decompositions.register("aten.linalg_lu_factor_ex.default")
def lu_factors(a: torch.Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:  # noqa: ARG001 - schema
    """L and U in one matrix, the rows that were swapped (from 1, int32), and no complaint."""
    import torch

    if not known_order(a) or a.shape[-2] != a.shape[-1] or not pivot:
        return NotImplemented
    n = a.shape[-1]
    index = torch.arange(n, device=a.device)
    pivots = []
    for k in range(n):
        best = a[..., k:, k].abs().argmax(-1, keepdim=True) + k
        row = a.gather(-2, best.unsqueeze(-1).expand(*a.shape[:-2], 1, n))
        a = torch.where((index == best).unsqueeze(-1), a[..., k : k + 1, :], a)
        a = torch.where((index == k).unsqueeze(-1), row, a)
        pivots.append(best.squeeze(-1) + 1)
        if k + 1 < n:
            factor = a[..., k + 1 :, k : k + 1] / a[..., k : k + 1, k : k + 1]
            rest = a[..., k + 1 :, k + 1 :] - factor * a[..., k : k + 1, k + 1 :]
            below = torch.cat([a[..., k + 1 :, :k], factor, rest], -1)
            a = torch.cat([a[..., : k + 1, :], below], -2)
    return a, torch.stack(pivots, -1).to(torch.int32), torch.zeros_like(a[..., 0, 0], dtype=torch.int32)


@decompositions.register("aten.linalg_lu_solve.default")
def lu_solve(
    factors: torch.Tensor, pivots: torch.Tensor, b: torch.Tensor, *, left: bool = True, adjoint: bool = False
) -> Any:
    """X of A X = B from A's factors."""
    import torch

    if not known_order(factors) or not left or adjoint:
        return NotImplemented
    n = factors.shape[-1]
    index = torch.arange(n, device=b.device)
    for k in range(n):
        other = pivots[..., k : k + 1].to(torch.int64) - 1
        row = b.gather(-2, other.unsqueeze(-1).expand(*b.shape[:-2], 1, b.shape[-1]))
        b = torch.where((index == other).unsqueeze(-1), b[..., k : k + 1, :], b)
        b = torch.where((index == k).unsqueeze(-1), row, b)
    middle = solve_triangular(factors, b, upper=False, unitriangular=True)
    return solve_triangular(factors, middle, upper=True)


@decompositions.register("aten.linalg_lu.default")
def lu_parts(a: torch.Tensor, *, pivot: bool = True) -> Any:
    """P, L and U of A = P L U."""
    made = lu_factors(a, pivot=pivot)
    return made if made is NotImplemented else lu_unpack(made[0], made[1])


@decompositions.register("aten.lu_unpack.default")
def lu_unpack(
    factors: torch.Tensor,
    pivots: torch.Tensor,
    unpack_data: bool = True,  # noqa: FBT001, FBT002 - torch's schema
    unpack_pivots: bool = True,  # noqa: FBT001, FBT002 - torch's schema
) -> Any:
    """P, L and U from the factors; what is not asked for is empty."""
    import torch

    if not known_order(factors):
        return NotImplemented
    n = factors.shape[-1]
    unit = torch.eye(n, dtype=factors.dtype, device=factors.device)
    nothing = torch.empty(0, dtype=factors.dtype, device=factors.device)
    p, lower, upper = nothing, nothing.clone(), nothing.clone()
    if unpack_pivots:
        index = torch.arange(n, device=factors.device)
        rows = unit.expand(factors.shape)
        # The swaps, undone from the last to the first.
        for k in reversed(range(n)):
            other = pivots[..., k : k + 1].to(torch.int64) - 1
            row = rows.gather(-2, other.unsqueeze(-1).expand(*rows.shape[:-2], 1, n))
            rows = torch.where((index == other).unsqueeze(-1), rows[..., k : k + 1, :], rows)
            rows = torch.where((index == k).unsqueeze(-1), row, rows)
        p = rows
    if unpack_data:
        lower, upper = factors.tril(-1) + unit, factors.triu()
    return p, lower, upper
