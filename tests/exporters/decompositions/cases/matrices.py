"""Linear algebra of small matrices."""

import torch

from tests.exporters.decompositions.cases.base import Case, normal


def positive_definite(n, order=3):
    x = torch.randn(n, order, order)
    return (x @ x.mT + torch.eye(order),)


def square(n):
    return (torch.randn(n, 4, 4) + 2 * torch.eye(4),)


def system(n):
    return positive_definite(n)[0] + torch.randn(n, 3, 3), torch.randn(n, 3, 2)


def svd_without_signs(x):
    """Singular values, the product, and whether the vectors are orthonormal: signs are free."""
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    return s, (u * s.unsqueeze(-2)) @ v, u.mT @ u, v @ v.mT


def eigh_without_signs(x):
    """Eigenvalues, the product, and whether the vectors are orthonormal: signs are free."""
    values, vectors = torch.linalg.eigh(x)
    return values, (vectors * values.unsqueeze(-2)) @ vectors.mT, vectors.mT @ vectors


CASES = [
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
    Case("lu", "aten.linalg_lu.default", torch.linalg.lu, square, 0, (), 2e-3),
    Case(
        "lu-unpack",
        "aten.lu_unpack.default",
        lambda x: torch.lu_unpack(*torch.linalg.lu_factor(x)),
        square,
        0,
        (),
        2e-3,
    ),
    Case(
        "lu-unpack-rows-alone",
        "aten.lu_unpack.default",
        lambda x: torch.lu_unpack(torch.zeros_like(x), torch.linalg.lu_factor(x)[1], unpack_data=False)[0],
        square,
        0,
    ),
    Case(
        "reflections",
        "aten.linalg_householder_product.default",
        lambda x: torch.linalg.householder_product(x, x[..., 0, :] * 0.1),
        lambda n: (torch.randn(n, 5, 3),),
        0,
        (),
        2e-4,
    ),
    Case(
        "cholesky-inverse",
        "aten.cholesky_inverse.default",
        lambda x: torch.cholesky_inverse(torch.linalg.cholesky(x)),
        positive_definite,
        0,
        (),
        2e-3,
    ),
    Case("vander", "aten.linalg_vander.default", lambda x: torch.linalg.vander(x, N=4), normal),
]
