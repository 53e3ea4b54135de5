"""A = V diag(w) V^T of a symmetric A by Jacobi's rotations, as many at a time as there are disjoint pairs.

    zeta = (a_qq - a_pp) / (2 a_pq),  t = sign(zeta) / (|zeta| + sqrt(1 + zeta^2)),  c = 1 / sqrt(1 + t^2),  s = t c,
    A <- J^T A J,  V <- V J  with  J_pp = J_qq = c, J_pq = s, J_qp = -s

One step of a Scan turns n / 2 pairs (p, q); n - 1 steps in the order of a round-robin tournament meet every pair
once and are a sweep. The number of sweeps is fixed. An eigenvector's sign is free, and so are the vectors of
equal eigenvalues: a model whose outputs depend on them does not agree with torch, and is refused for it.
Source: Golub and Van Loan, Matrix Computations, 4th edition, 8.5 (8.5.6 for the parallel order).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch

MAX_ORDER = 32
"""Largest order of a matrix: the steps of the Scan grow with it, its body does not."""

SWEEPS = 10
"""Sweeps for any order; convergence is quadratic from the third or fourth one on."""


@decompositions.register("aten._linalg_eigh.default")
def eigh(a: torch.Tensor, UPLO: str = "L", compute_v: bool = True) -> Any:  # noqa: FBT001, FBT002, N803 - schema
    """Eigenvalues [..., n], ascending, and eigenvectors [..., n, n] as columns, from one triangle of A."""
    import torch

    n = a.shape[-1]
    if not isinstance(n, int) or not 0 < n <= MAX_ORDER or a.is_complex():
        return NotImplemented
    triangle = a.tril() if UPLO.upper() == "L" else a.triu()
    whole = triangle + triangle.mT - torch.diag_embed(torch.diagonal(triangle, dim1=-2, dim2=-1))
    values, vectors = _rotated(whole, n)
    values, order = torch.sort(values, -1)
    if not compute_v:
        return values, torch.empty(0, dtype=a.dtype, device=a.device)
    return values, vectors.gather(-1, order.unsqueeze(-2).expand_as(vectors))


def _rotated(a: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The diagonal of the turned matrix, and the rotations' product."""
    import torch
    from torch._higher_order_ops.scan import scan_op

    if n == 1:
        return a.squeeze(-1), torch.ones_like(a)
    even = n + n % 2
    # An odd one out sits with a row of zeros, which no rotation touches.
    a = torch.nn.functional.pad(a, [0, even - n, 0, even - n])
    first, second = (side.to(a.dtype) for side in _tournament(even))

    def step(both: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> list[torch.Tensor]:
        a, v = both[..., :even, :], both[..., even:, :]
        rows = p @ a
        pp, pq = (rows * p).sum(-1), (rows * q).sum(-1)
        qq = ((q @ a) * q).sum(-1)
        flat = pq == 0
        zeta = (qq - pp) / torch.where(flat, 1.0, 2.0 * pq)
        sign = torch.where(zeta < 0, -1.0, 1.0).to(a.dtype)
        t = torch.where(flat, 0.0, sign / (zeta.abs() + torch.sqrt(1.0 + zeta.square())))
        c = (1.0 / torch.sqrt(1.0 + t.square())).unsqueeze(-1)
        s = t.unsqueeze(-1) * c
        turn = p.mT @ (c * p + s * q) + q.mT @ (c * q - s * p)
        both = torch.cat([turn.mT @ a @ turn, v @ turn], -2)
        return [both, both[..., :1, :1].clone()]

    unit = torch.eye(even, dtype=a.dtype, device=a.device).expand(a.shape)
    both = scan_op(
        step, [torch.cat([a, unit], -2)], [first.repeat(SWEEPS, 1, 1), second.repeat(SWEEPS, 1, 1)], ()
    )[0]
    values = torch.diagonal(both[..., :even, :], dim1=-2, dim2=-1)
    return values[..., :n], both[..., even : even + n, :n]


def _tournament(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Who meets whom in n - 1 rounds of n / 2 games: both sides as rows of 0 and one 1, [n - 1, n / 2, n].

    In round r the last player meets r, and r + g meets r - g, counted around the circle of the others.
    """
    import torch

    rounds, games = torch.arange(n - 1).unsqueeze(1), torch.arange(n // 2)
    first = (rounds + games) % (n - 1)
    second = torch.where(games == 0, n - 1, (rounds + (n - 1 - games)) % (n - 1))
    players = torch.arange(n)
    return first.unsqueeze(-1) == players, second.unsqueeze(-1) == players
