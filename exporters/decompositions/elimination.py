"""A X = B by Gauss and Jordan's elimination with partial pivoting, written out row by row.

For matrices of a known order up to `MAX_UNROLLED`; larger ones are declined. A singular matrix gives
infinities or NaN where torch raises. Source: Golub and Van Loan, Matrix Computations, 4th edition, 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import MAX_UNROLLED, decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.linalg_inv_ex.default")
def inverse(a: torch.Tensor, *, check_errors: bool = False) -> Any:  # noqa: ARG001 - torch's schema
    """The inverses of a [..., n, n], and no complaint (int32 zeros [...])."""
    import torch

    if not known_order(a):
        return NotImplemented
    n = a.shape[-1]
    unit = torch.eye(n, dtype=a.dtype, device=a.device).expand(a.shape)
    solution, _, _ = _eliminate(a, unit)
    return solution, torch.zeros_like(a[..., 0, 0], dtype=torch.int32)


@decompositions.register("aten.linalg_inv.default")
@decompositions.register("aten.inverse.default")
def plain_inverse(a: torch.Tensor) -> torch.Tensor:
    """The inverses alone, without torch's check that there is one, which would be a side effect."""
    import torch

    value: torch.Tensor = torch.ops.aten.linalg_inv_ex.default(a)[0]
    return value


@decompositions.register("aten.linalg_solve.default")
def plain_solve(a: torch.Tensor, b: torch.Tensor, *, left: bool = True) -> torch.Tensor:
    """X of A X = B, or of X A = B, without a check."""
    import torch

    value: torch.Tensor = torch.ops.aten._linalg_solve_ex.default(a, b, left=left)[0]  # noqa: SLF001 - ATen's name
    return value


@decompositions.register("aten._linalg_solve_ex.default")
def solve(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    left: bool = True,
    check_errors: bool = False,  # noqa: ARG001 - schema
) -> Any:
    """X of A X = B, or of X A = B; the factors that torch returns beside it are zeros."""
    import torch

    if not known_order(a):
        return NotImplemented
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape[-1] == a.shape[-1])
    columns = b.unsqueeze(-1) if vector else b
    if left:
        solution, _, _ = _eliminate(a, columns)
    else:
        solution = _eliminate(a.mT, columns.mT)[0].mT
    nothing = torch.zeros_like(a[..., 0], dtype=torch.int32)
    return (
        solution.squeeze(-1) if vector else solution,
        torch.zeros_like(a),
        nothing,
        nothing[..., 0].clone(),
    )


@decompositions.register("aten._linalg_slogdet.default")
def slogdet(a: torch.Tensor) -> Any:
    """Sign and logarithm of |det A|; the factors that torch returns beside them are zeros."""
    import torch

    if not known_order(a):
        return NotImplemented
    _, pivots, swapped = _eliminate(a, a[..., :0])
    sign = torch.sign(pivots).prod(-1) * (1.0 - 2.0 * (swapped % 2).to(a.dtype))
    # An exact zero leaves NaN behind it in later pivots.
    singular = (pivots == 0).any(-1)
    logarithm = torch.log(pivots.abs()).sum(-1)
    return (
        torch.where(singular, 0.0, sign),
        torch.where(singular, -torch.inf, logarithm),
        torch.zeros_like(a),
        torch.zeros_like(a[..., 0], dtype=torch.int32),
    )


def known_order(a: torch.Tensor) -> bool:
    """Whether a [..., n, n] is real with a known, small n."""
    n = a.shape[-1]
    return isinstance(n, int) and 0 < n <= MAX_UNROLLED and not a.is_complex()


def _eliminate(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """X of A X = B, the pivots [..., n], and how many rows were swapped [...]."""
    import torch

    n = a.shape[-1]
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    rows = torch.cat([a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])], -1)
    index = torch.arange(n, device=a.device)
    pivots = []
    swapped = torch.zeros_like(rows[..., 0, 0], dtype=torch.int64)
    for k in range(n):
        best = rows[..., k:, k].abs().argmax(-1, keepdim=True) + k
        row = rows.gather(-2, best.unsqueeze(-1).expand(*rows.shape[:-2], 1, rows.shape[-1]))
        other = rows[..., k : k + 1, :]
        rows = torch.where((index == best).unsqueeze(-1), other, rows)
        swapped = swapped + (best.squeeze(-1) != k).to(torch.int64)
        pivot = row[..., k : k + 1]
        row = row / pivot
        here = (index == k).unsqueeze(-1)
        rows = torch.where(here, row, rows - rows[..., k : k + 1] * row)
        pivots.append(pivot[..., 0, 0])
    return rows[..., n:], torch.stack(pivots, -1), swapped
