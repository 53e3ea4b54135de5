"""A = L L^T column by column (Cholesky), and T X = B row by row for a triangular T.

    l_jj = sqrt(a_jj - sum_k<j l_jk^2),  l_ij = (a_ij - sum_k<j l_ik l_jk) / l_jj,
    x_i = (b_i - sum_k<i t_ik x_k) / t_ii

For matrices of a known order up to `MAX_UNROLLED`. Source: Golub and Van Loan, 4th edition, 3.1 and 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions
from edgepack.exporters.decompositions.elimination import known_order

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.linalg_cholesky_ex.default")
def cholesky(
    a: torch.Tensor,
    *,
    upper: bool = False,
    check_errors: bool = False,  # noqa: ARG001 - torch's schema
) -> Any:
    """L, or its transpose, and no complaint (int32 zeros); NaN where A is not positive definite."""
    import torch

    if not known_order(a):
        return NotImplemented
    lower = a.mT if upper else a
    columns: list[torch.Tensor] = []
    for j in range(a.shape[-1]):
        rest = lower[..., j:, j]
        if columns:
            before = torch.stack(columns, -1)
            rest = rest - (before[..., j:, :] * before[..., j : j + 1, :]).sum(-1)
        column = rest / torch.sqrt(rest[..., :1])
        columns.append(torch.cat([torch.zeros_like(lower[..., :j, j]), column], -1))
    factor = torch.stack(columns, -1)
    return factor.mT if upper else factor, torch.zeros_like(a[..., 0, 0], dtype=torch.int32)


@decompositions.register("aten.linalg_cholesky.default")
def plain_cholesky(a: torch.Tensor, *, upper: bool = False) -> torch.Tensor:
    """The factor alone, without torch's check that there is one, which would be a side effect."""
    import torch

    value: torch.Tensor = torch.ops.aten.linalg_cholesky_ex.default(a, upper=upper)[0]
    return value


@decompositions.register("aten.linalg_solve_triangular.default")
def solve_triangular(
    t: torch.Tensor, b: torch.Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """X of T X = B, or of X T = B."""
    import torch

    if not known_order(t):
        return NotImplemented
    if not left:
        return solve_triangular(t.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    n = t.shape[-1]
    solved: dict[int, torch.Tensor] = {}
    for i in reversed(range(n)) if upper else range(n):
        row = b[..., i : i + 1, :]
        if solved:
            known = sorted(solved)
            factors = t[..., i : i + 1, known[0] : known[-1] + 1]
            row = row - factors @ torch.cat([solved[k] for k in known], -2)
        elif t.ndim > b.ndim or t.shape[:-2] != b.shape[:-2]:
            batch = torch.broadcast_shapes(t.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
            row = row.expand(*batch, *row.shape[-2:])
        solved[i] = row if unitriangular else row / t[..., i : i + 1, i : i + 1]
    return torch.cat([solved[k] for k in range(n)], -2)


@decompositions.register("aten.cholesky_solve.default")
def cholesky_solve(b: torch.Tensor, factor: torch.Tensor, upper: bool = False) -> Any:  # noqa: FBT001, FBT002
    """X of A X = B from A's Cholesky factor."""
    if not known_order(factor):
        return NotImplemented
    lower = factor.mT if upper else factor
    middle = solve_triangular(lower, b, upper=False)
    return solve_triangular(lower.mT, middle, upper=True)


@decompositions.register("aten.cholesky_inverse.default")
def cholesky_inverse(factor: torch.Tensor, upper: bool = False) -> Any:  # noqa: FBT001, FBT002 - torch's schema
    """The inverse of A from A's Cholesky factor."""
    import torch

    unit = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return cholesky_solve(unit.expand(factor.shape), factor, upper)
