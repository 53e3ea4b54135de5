"""A = Q R by Householder's reflections, written out column by column.

    beta = -sign(x_1) |x|,  v = x - beta e_1,  H = I - 2 v v^T / (v^T v),  R = H_n ... H_1 A,  Q = H_1 ... H_n

with the signs of LAPACK: a column that is zero below its diagonal is left as it is. For matrices of known sides,
the smaller at most `MAX_UNROLLED`. Source: Golub and Van Loan, Matrix Computations, 4th edition, 5.1 and 5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import MAX_UNROLLED, decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.linalg_qr.default")
def qr(a: torch.Tensor, mode: str = "reduced") -> Any:
    """Q and R; Q is empty in mode "r"."""
    import torch

    m, n = a.shape[-2:]
    if not (isinstance(m, int) and isinstance(n, int)) or not 0 < min(m, n) <= MAX_UNROLLED or a.is_complex():
        return NotImplemented
    r, reflections = a, []
    for j in range(min(m - 1, n)):
        column = r[..., j:, j : j + 1]
        head, tail = column[..., :1, :], column[..., 1:, :]
        flat = tail.square().sum(-2, keepdim=True) == 0
        size = column.square().sum(-2, keepdim=True).sqrt()
        beta = torch.where(head < 0, size, -size)
        v = torch.cat([head - beta, tail], -2)
        v = torch.where(flat, 0.0, v / torch.where(flat, 1.0, v.square().sum(-2, keepdim=True).sqrt()))
        v = torch.nn.functional.pad(v, [0, 0, j, 0])
        r = r - 2.0 * v @ (v.mT @ r)
        reflections.append(v)
    rows = m if mode == "complete" else min(m, n)
    r = r[..., :rows, :].triu()
    if mode == "r":
        return torch.empty(0, dtype=a.dtype, device=a.device), r
    q = torch.eye(m, rows, dtype=a.dtype, device=a.device).expand(*a.shape[:-2], m, rows)
    for v in reversed(reflections):
        q = q - 2.0 * v @ (v.mT @ q)
    return q.clone() if not reflections else q, r


@decompositions.register("aten.linalg_householder_product.default")
def householder_product(a: torch.Tensor, tau: torch.Tensor) -> Any:
    """Q [..., m, n] = H_1 H_2 ... H_k in its first n columns, H_i = I - tau_i v_i v_i^T, v_i below a's diagonal."""
    import torch

    m, n, k = a.shape[-2], a.shape[-1], tau.shape[-1]
    if not all(isinstance(size, int) for size in (m, n, k)) or n > MAX_UNROLLED or a.is_complex():
        return NotImplemented
    q = torch.eye(m, n, dtype=a.dtype, device=a.device).expand(a.shape)
    ones = torch.ones_like(a[..., :1, :1])
    for i in reversed(range(k)):
        v = torch.nn.functional.pad(torch.cat([ones, a[..., i + 1 :, i : i + 1]], -2), [0, 0, i, 0])
        q = q - tau[..., i : i + 1].unsqueeze(-1) * v @ (v.mT @ q)
    return q.clone() if k == 0 else q
