"""Functions of matrices: the exponential, the pseudo-inverse, the factors of an elimination.

    e^A = (e^(A / 2^s))^(2^s),  with s so that |A / 2^s| <= 1 and a Taylor polynomial for the inner one
    A^+ = V diag(1 / s_i) U^T,  singular values below the cut-off left out
    P A = L U, in place: L's ones are not stored

Source: Moler and Van Loan, Nineteen Dubious Ways to Compute the Exponential of a Matrix, 2003, method 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions
from edgepack.exporters.decompositions.elimination import known_order
from edgepack.exporters.decompositions.singular_values import svd
from edgepack.exporters.decompositions.triangular import solve_triangular

if TYPE_CHECKING:
    import torch

_DEGREE = 12
"""1 / 13! is 2e-10."""

_SQUARINGS = 12
"""Norms up to 2^12 are halved below 1; a result that overflows float32 on the way is not finite."""


@decompositions.register("aten.linalg_matrix_exp.default")
def matrix_exponential(a: torch.Tensor) -> Any:
    """e^A of matrices [..., n, n] of any order."""
    import torch

    if a.is_complex():
        return NotImplemented
    norm = a.abs().sum(-1).amax(-1)[..., None, None]
    halvings = torch.clamp(torch.ceil(torch.log2(torch.clamp(norm, min=1.0))), max=_SQUARINGS)
    scaled = a * torch.exp2(-halvings)
    unit = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    result = unit + scaled / _DEGREE
    for k in range(_DEGREE - 1, 0, -1):
        result = unit + scaled @ result / k
    for k in range(_SQUARINGS):
        result = torch.where(halvings > k, result @ result, result)
    return result


@decompositions.register("aten.linalg_pinv.atol_rtol_tensor")
def pseudo_inverse(
    a: torch.Tensor,
    *,
    atol: torch.Tensor | None = None,
    rtol: torch.Tensor | None = None,
    hermitian: bool = False,  # noqa: ARG001 - torch's schema; the singular values serve there too
) -> Any:
    """A^+ [..., n, m] of a [..., m, n] with a small known side."""
    import torch

    factors = svd(a)
    if factors is NotImplemented:
        return NotImplemented
    u, values, vt = factors
    if rtol is None:
        default = max(a.shape[-2:]) * torch.finfo(a.dtype).eps
        rtol = torch.full((), default if atol is None else 0.0, dtype=a.dtype, device=a.device)
    limit = rtol.unsqueeze(-1) * values.amax(-1, keepdim=True)
    limit = limit if atol is None else torch.maximum(atol.unsqueeze(-1), limit)
    kept = values > limit
    inverted = torch.where(kept, 1.0 / torch.where(kept, values, 1.0), 0.0)
    return (vt.mT * inverted.unsqueeze(-2)) @ u.mT


@decompositions.register("aten.pinverse.default")
def pseudo_inverse_by_condition(a: torch.Tensor, rcond: float = 1e-15) -> Any:
    """A^+, singular values below `rcond` times the largest left out."""
    import torch

    return pseudo_inverse(a, rtol=torch.full((), rcond, dtype=a.dtype, device=a.device))


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
