"""One or more cases for every decomposition: a torch function, and inputs of a given length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

F = torch.nn.functional


@dataclass(frozen=True)
class Case:
    """`function` of what `inputs(n)` gives; `axis` of the first input is n, and varies."""

    name: str
    operator: str
    function: Callable[..., Any]
    inputs: Callable[[int], tuple[torch.Tensor, ...]]
    axis: int | None = 1
    others: tuple[int | None, ...] = field(default=())
    tolerance: float = 2e-5


def normal(n):
    return (torch.randn(3, n),)


def whole(n):
    return (torch.randint(-3, 4, (3, n)),)


def with_gaps(n):
    """Ties, NaN in one row, infinity in another."""
    x = torch.randint(-2, 3, (3, n)).float()
    x[1, n // 2] = torch.nan
    x[2, 0] = torch.inf
    return (x,)


def positive_definite(n, order=3):
    x = torch.randn(n, order, order)
    return (x @ x.mT + torch.eye(order),)


def system(n):
    return positive_definite(n)[0] + torch.randn(n, 3, 3), torch.randn(n, 3, 2)


def edges(n):
    special = torch.tensor([0.0, -0.0, 0.5, -1.5, 3.7, 100.0, -7.25, 1.0, 2.0, torch.inf])
    return (torch.cat([special, torch.randn(n) * 4]).unsqueeze(0),)


def unit_interval(n):
    return (
        torch.cat([torch.tensor([0.0, 1.0, -1.0, 0.999999, -0.9999]), torch.rand(n) * 2 - 1]).unsqueeze(0),
    )


def image(n):
    return (torch.randn(2, 3, n + 3, 5),)


def pick(x, pair, dim):
    """Values, and what the positions point at: torch leaves open which of equal elements it is."""
    return pair[0], x.gather(dim, pair[1])


def svd_without_signs(x):
    """Singular values, the product, and whether the vectors are orthonormal: signs are free."""
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    return s, (u * s.unsqueeze(-2)) @ v, u.mT @ u, v @ v.mT


def eigh_without_signs(x):
    """Eigenvalues, the product, and whether the vectors are orthonormal: signs are free."""
    values, vectors = torch.linalg.eigh(x)
    return values, (vectors * values.unsqueeze(-2)) @ vectors.mT, vectors.mT @ vectors


CASES = [
    Case("cumprod", "aten.cumprod.default", lambda x: x.cumprod(1), normal),
    Case("cumprod-negative-dim", "aten.cumprod.default", lambda x: x.cumprod(-2), normal),
    Case("cumprod-whole", "aten.cumprod.default", lambda x: x.int().cumprod(1), whole),
    Case("cumprod-dtype", "aten.cumprod.default", lambda x: x.cumprod(1, dtype=torch.float64), whole),
    Case("cummax", "aten.cummax.default", lambda x: x.cummax(1), with_gaps),
    Case("cummax-whole", "aten.cummax.default", lambda x: x.cummax(-1), whole),
    Case("cummin", "aten.cummin.default", lambda x: x.cummin(-1), with_gaps),
    Case("kthvalue", "aten.kthvalue.default", lambda x: x.kthvalue(2)[0], with_gaps),
    Case("kthvalue-nan", "aten.kthvalue.default", lambda x: x.kthvalue(x.shape[1])[0], with_gaps),
    Case("kthvalue-whole", "aten.kthvalue.default", lambda x: pick(x, x.kthvalue(2, -1, True), 1), whole),
    Case("median-dim", "aten.median.dim", lambda x: x.median(-1)[0], with_gaps),
    Case("median-place", "aten.median.dim", lambda x: pick(x, x.median(1, True), 1), normal),
    Case("median-whole", "aten.median.dim", lambda x: x.median(0)[0], whole),
    Case("median", "aten.median.default", torch.median, normal),
    Case("median-nan", "aten.median.default", torch.median, with_gaps),
    Case("nanmedian-dim", "aten.nanmedian.dim", lambda x: x.nanmedian(1)[0], with_gaps),
    Case("nanmedian-whole", "aten.nanmedian.dim", lambda x: x.nanmedian(1)[0], whole),
    Case("nanmedian", "aten.nanmedian.default", torch.nanmedian, with_gaps),
    Case(
        "searchsorted",
        "aten.searchsorted.Tensor",
        lambda x: torch.searchsorted(x.sort(1)[0], x.round()),
        normal,
    ),
    Case(
        "searchsorted-right-ties-nan",
        "aten.searchsorted.Tensor",
        lambda x, v: torch.searchsorted(x.sort(1)[0], v, right=True, out_int32=True),
        lambda n: (whole(n)[0].float(), torch.tensor([[0.0, torch.nan, -torch.inf]] * 3)),
    ),
    Case(
        "searchsorted-one-sequence",
        "aten.searchsorted.Tensor",
        lambda v: torch.searchsorted(torch.tensor([-1.0, 0.0, 0.0, 1.0]), v, side="right"),
        normal,
    ),
    Case(
        "searchsorted-sorter",
        "aten.searchsorted.Tensor",
        lambda x: torch.searchsorted(x, x.round(), sorter=x.argsort(1)),
        normal,
    ),
    Case(
        "searchsorted-number",
        "aten.searchsorted.Scalar",
        lambda x: torch.searchsorted(x.reshape(-1).sort()[0], 0.25),
        normal,
    ),
    Case("isin", "aten.isin.Tensor_Tensor", lambda x: torch.isin(x, torch.tensor([-1, 2])), whole),
    Case("isin-not", "aten.isin.Tensor_Tensor", lambda x: torch.isin(x, x[0], invert=True), whole),
    Case("erfinv", "aten.erfinv.default", torch.erfinv, unit_interval),
    Case("special-erfinv", "aten.special_erfinv.default", torch.special.erfinv, unit_interval),
    Case("lgamma", "aten.lgamma.default", torch.lgamma, edges),
    Case("gammaln", "aten.special_gammaln.default", torch.special.gammaln, edges),
    Case("digamma", "aten.digamma.default", torch.digamma, edges),
    Case("special-digamma", "aten.special_digamma.default", torch.special.digamma, edges),
    Case("signbit", "aten.signbit.default", torch.signbit, edges),
    Case("signbit-whole", "aten.signbit.default", torch.signbit, whole),
    Case("copysign", "aten.copysign.Tensor", lambda x: torch.copysign(x.flip(1), x), edges),
    Case("hypot", "aten.hypot.default", lambda x: torch.hypot(x * 1e30, x.flip(1) * 1e30) * 1e-30, edges),
    Case("cdist", "aten.cdist.default", torch.cdist, lambda n: (torch.randn(2, n, 4), torch.randn(2, 5, 4))),
    Case(
        "cdist-1", "aten.cdist.default", lambda x: torch.cdist(x, x, p=1), lambda n: (torch.randn(2, n, 4),)
    ),
    Case(
        "cdist-inf",
        "aten.cdist.default",
        lambda x: torch.cdist(x, x, p=torch.inf),
        lambda n: (torch.randn(2, n, 4),),
    ),
    Case(
        "cdist-3",
        "aten.cdist.default",
        lambda x: torch.cdist(x, x * 2, p=3),
        lambda n: (torch.randn(2, n, 4),),
    ),
    Case(
        "cdist-0",
        "aten.cdist.default",
        lambda x: torch.cdist(x, x.flip(1), p=0),
        lambda n: (torch.randn(2, n, 4).round(),),
    ),
    Case(
        "cdist-large",
        "aten.cdist.default",
        lambda x: torch.cdist(x, x.flip(0)),
        lambda _: (torch.randn(600, 4),),
        None,
        (),
        2e-3,
    ),
    Case(
        "cdist-forward",
        "aten._cdist_forward.default",
        lambda x: torch.ops.aten._cdist_forward(x, x, 2.0, None),
        lambda n: (torch.randn(2, n, 4),),
    ),
    Case("pdist", "aten.pdist.default", F.pdist, lambda n: (torch.randn(n, 4),), 0),
    Case("inv", "aten.linalg_inv.default", torch.linalg.inv, lambda n: system(n)[:1], 0, (), 2e-3),
    Case(
        "inverse-permutation",
        "aten.inverse.default",
        torch.inverse,
        lambda n: (torch.eye(4)[torch.tensor([2, 0, 3, 1])].repeat(n, 1, 1),),
        0,
    ),
    Case(
        "inv-ex",
        "aten.linalg_inv_ex.default",
        lambda x: torch.linalg.inv_ex(x)[0],
        positive_definite,
        0,
        (),
        2e-3,
    ),
    Case("solve", "aten.linalg_solve.default", torch.linalg.solve, system, 0, (0,), 2e-3),
    Case(
        "solve-vector",
        "aten.linalg_solve.default",
        lambda a: torch.linalg.solve(a, a[..., 0]),
        positive_definite,
        0,
        (),
        2e-3,
    ),
    Case(
        "solve-right",
        "aten.linalg_solve.default",
        lambda a, b: torch.linalg.solve(a, b.mT, left=False),
        system,
        0,
        (0,),
        2e-3,
    ),
    Case(
        "solve-ex",
        "aten.linalg_solve_ex.default",
        lambda a, b: torch.linalg.solve_ex(a, b)[0],
        system,
        0,
        (0,),
        2e-3,
    ),
    Case(
        "slogdet",
        "aten.linalg_slogdet.default",
        torch.linalg.slogdet,
        lambda n: (torch.randn(n, 4, 4),),
        0,
        (),
        2e-4,
    ),
    Case("slogdet-singular", "aten.slogdet.default", torch.slogdet, lambda n: (torch.zeros(n, 2, 2),), 0),
    Case("logdet", "aten.logdet.default", torch.logdet, positive_definite, 0, (), 2e-4),
    Case("cholesky", "aten.linalg_cholesky.default", torch.linalg.cholesky, positive_definite, 0),
    Case(
        "cholesky-upper",
        "aten.linalg_cholesky.default",
        lambda x: torch.linalg.cholesky(x, upper=True),
        positive_definite,
        0,
    ),
    Case(
        "cholesky-ex",
        "aten.linalg_cholesky_ex.default",
        lambda x: torch.linalg.cholesky_ex(x)[0],
        positive_definite,
        0,
    ),
    Case(
        "cholesky-solve",
        "aten.cholesky_solve.default",
        lambda x: torch.cholesky_solve(x, torch.linalg.cholesky(x)),
        positive_definite,
        0,
        (),
        2e-4,
    ),
    Case(
        "triangular",
        "aten.linalg_solve_triangular.default",
        lambda x: torch.linalg.solve_triangular(x.tril(), x, upper=False),
        positive_definite,
        0,
        (),
        2e-3,
    ),
    Case(
        "triangular-upper-right",
        "aten.linalg_solve_triangular.default",
        lambda x: torch.linalg.solve_triangular(x.triu(), x, upper=True, left=False),
        positive_definite,
        0,
        (),
        2e-3,
    ),
    Case(
        "triangular-unit",
        "aten.linalg_solve_triangular.default",
        lambda x: torch.linalg.solve_triangular(x.tril(), x[0], upper=False, unitriangular=True),
        positive_definite,
        0,
        (),
        2e-2,
    ),
    Case(
        "svdvals", "aten.linalg_svdvals.default", torch.linalg.svdvals, lambda n: (torch.randn(n, 4, 3),), 0
    ),
    Case(
        "svdvals-wide-rank-1",
        "aten.linalg_svdvals.default",
        torch.linalg.svdvals,
        lambda n: (torch.arange(1.0, 9.0).reshape(2, 4).mul(torch.ones(n, 1, 1)),),
        0,
    ),
    Case("svd", "aten.linalg_svd.default", svd_without_signs, lambda n: (torch.randn(n, 4, 6),), 0),
    Case(
        "svd-inner",
        "aten._linalg_svd.default",
        lambda x: torch.ops.aten._linalg_svd(x)[1],
        lambda n: (torch.randn(n, 3, 3),),
        0,
    ),
    Case(
        "scatter-mean",
        "aten.scatter_reduce.two",
        lambda x: x.scatter_reduce(1, (x > 0).long(), x * 2, "mean"),
        normal,
    ),
    Case(
        "scatter-mean-alone",
        "aten.scatter_reduce.two",
        lambda x: x.scatter_reduce(0, (x > 0).long(), x * 2, "mean", include_self=False),
        normal,
    ),
    Case(
        "scatter-mean-whole",
        "aten.scatter_reduce.two",
        lambda x: x.scatter_reduce(-1, (x > 0).long(), x, "mean"),
        whole,
    ),
    Case(
        "diagonal-scatter",
        "aten.diagonal_scatter.default",
        lambda x: torch.diagonal_scatter(x, torch.arange(3.0)),
        lambda n: (torch.randn(3, n),),
    ),
    Case(
        "diagonal-scatter-below",
        "aten.diagonal_scatter.default",
        lambda x: torch.diagonal_scatter(x, torch.arange(4.0).reshape(2, 2), -1, -3, 2),
        lambda n: (torch.randn(3, 2, n),),
        2,
    ),
    Case(
        "average-2d", "aten.adaptive_avg_pool2d.default", lambda x: F.adaptive_avg_pool2d(x, (2, 3)), image, 2
    ),
    Case(
        "average-2d-more-than-there-is",
        "aten.adaptive_avg_pool2d.default",
        lambda x: F.adaptive_avg_pool2d(x, (16, 1)),
        image,
        2,
    ),
    Case(
        "average-1d",
        "aten.adaptive_avg_pool1d.default",
        lambda x: F.adaptive_avg_pool1d(x, 3),
        lambda n: (torch.randn(2, 3, n),),
        2,
    ),
    Case(
        "area",
        "aten.adaptive_avg_pool2d.default",
        lambda x: F.interpolate(x, size=(4, 9), mode="area"),
        image,
        2,
    ),
    Case(
        "maximum-2d",
        "aten.adaptive_max_pool2d.default",
        lambda x: F.adaptive_max_pool2d(x, (2, 3), return_indices=True),
        image,
        2,
    ),
    Case(
        "maximum-1d",
        "aten.adaptive_max_pool1d.default",
        lambda x: F.adaptive_max_pool1d(x, 3, return_indices=True),
        lambda n: (torch.randn(2, 3, n),),
        2,
    ),
    Case(
        "solve-inner",
        "aten._linalg_solve_ex.default",
        lambda a, b: torch.ops.aten._linalg_solve_ex(a, b)[0],
        system,
        0,
        (0,),
        2e-3,
    ),
    Case(
        "slogdet-inner",
        "aten._linalg_slogdet.default",
        lambda a: torch.ops.aten._linalg_slogdet(a)[:2],
        positive_definite,
        0,
        (),
        2e-4,
    ),
    Case("atan2", "aten.atan2.default", lambda x: torch.atan2(x.round(), x.flip(1)), normal),
    Case("atan2-axes", "aten.atan2.default", lambda x: torch.atan2(x.sign() - 1, x.flip(1)), edges),
    Case("mode", "aten.mode.default", lambda x: x.mode(1), whole),
    Case("mode-floats", "aten.mode.default", lambda x: x.round().mode(0, keepdim=True)[0], normal),
    Case("eigh", "aten.linalg_eigh.default", eigh_without_signs, positive_definite, 0, (), 2e-4),
    Case(
        "eigh-upper-odd",
        "aten.linalg_eigh.default",
        lambda x: torch.linalg.eigh(x, UPLO="U")[0],
        lambda n: (torch.randn(n, 5, 5),),
        0,
        (),
        2e-4,
    ),
    Case("eigvalsh", "aten.linalg_eigvalsh.default", torch.linalg.eigvalsh, positive_definite, 0, (), 2e-4),
    Case(
        "eigh-inner",
        "aten._linalg_eigh.default",
        lambda x: torch.ops.aten._linalg_eigh(x, "L", True)[0],
        positive_definite,
        0,
        (),
        2e-4,
    ),
    Case("qr", "aten.linalg_qr.default", torch.linalg.qr, lambda n: (torch.randn(n, 6, 4),), 0, (), 2e-4),
    Case(
        "qr-complete-wide",
        "aten.linalg_qr.default",
        lambda x: torch.linalg.qr(x, "complete"),
        lambda n: (torch.randn(n, 3, 4),),
        0,
        (),
        2e-4,
    ),
    Case(
        "matrix-exp",
        "aten.linalg_matrix_exp.default",
        lambda x: torch.linalg.matrix_exp(x) / 10,
        lambda n: (torch.randn(n, 4, 4) * torch.tensor([0.0, 0.1, 2.0]).repeat(n)[:n, None, None],),
        0,
        (),
        2e-4,
    ),
    Case(
        "pinv",
        "aten.linalg_pinv.atol_rtol_tensor",
        torch.linalg.pinv,
        lambda n: (torch.randn(n, 6, 3),),
        0,
        (),
        2e-4,
    ),
    Case(
        "pinv-rank-1",
        "aten.linalg_pinv.atol_rtol_tensor",
        lambda x: torch.linalg.pinv(x, rtol=torch.tensor(1e-3)),
        lambda n: (
            torch.arange(1.0, 9.0).reshape(2, 4).mul(torch.ones(n, 1, 1)) + torch.tensor([[0.0], [1e-4]]),
        ),
        0,
        (),
        2e-3,
    ),
    Case("pinverse", "aten.pinverse.default", torch.pinverse, lambda n: (torch.randn(n, 3, 6),), 0, (), 2e-4),
    Case(
        "lu-factor",
        "aten.linalg_lu_factor.default",
        torch.linalg.lu_factor,
        lambda n: (torch.randn(n, 4, 4),),
        0,
        (),
        2e-3,
    ),
    Case(
        "lu-factor-ex",
        "aten.linalg_lu_factor_ex.default",
        lambda x: torch.linalg.lu_factor_ex(x)[1],
        lambda n: (torch.randn(n, 4, 4),),
        0,
    ),
    Case(
        "lu-solve",
        "aten.linalg_lu_solve.default",
        lambda x: torch.linalg.lu_solve(*torch.linalg.lu_factor_ex(x)[:2], x.flip(1)),
        lambda n: (torch.randn(n, 4, 4) + 4 * torch.eye(4).flip(0),),
        0,
        (),
        2e-3,
    ),
]
