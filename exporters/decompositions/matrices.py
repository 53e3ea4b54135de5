"""Functions of matrices: the exponential, the pseudo-inverse, least squares, powers side by side.

    e^A = (e^(A / 2^s))^(2^s),  with s so that |A / 2^s| <= 1 and a Taylor polynomial for the inner one
    A^+ = V diag(1 / s_i) U^T,  singular values below the cut-off left out
    v_ij = x_i^j

Source: Moler and Van Loan, Nineteen Dubious Ways to Compute the Exponential of a Matrix, 2003, method 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions
from edgepack.exporters.decompositions.singular_values import svd

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


@decompositions.register("aten.linalg_vander.default")
def vandermonde(x: torch.Tensor, *, N: int | None = None) -> Any:  # noqa: N803 - torch's schema
    """Powers 0 to N - 1 of x [..., n] along a new last axis; N is n unless given."""
    import torch

    columns = x.shape[-1] if N is None else N
    if not isinstance(columns, int) or x.is_complex():
        return NotImplemented
    powers = [torch.ones_like(x)]
    while len(powers) < columns:
        powers.append(powers[-1] * x)
    return torch.stack(powers[:columns], -1)
