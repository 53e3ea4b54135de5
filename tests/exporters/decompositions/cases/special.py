"""Functions of one number, what a number is made of, windows, and a loss."""

import torch

from tests.exporters.decompositions.cases.base import Case, normal, whole

F = torch.nn.functional


def edges(n):
    special = torch.tensor([0.0, -0.0, 0.5, -1.5, 3.7, 100.0, -7.25, 1.0, 2.0, torch.inf])
    return (torch.cat([special, torch.randn(n) * 4]).unsqueeze(0),)


def unit_interval(n):
    return (
        torch.cat([torch.tensor([0.0, 1.0, -1.0, 0.999999, -0.9999]), torch.rand(n) * 2 - 1]).unsqueeze(0),
    )


def positive(n):
    return (torch.cat([torch.tensor([0.05, 0.5, 1.0, 30.0]), torch.rand(n) * 5 + 0.01]).unsqueeze(0),)


def waves(n):
    return (torch.linspace(-20, 20, 3 * n).reshape(3, n),)


CASES = [
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
    Case("atan2", "aten.atan2.default", lambda x: torch.atan2(x.round(), x.flip(1)), normal),
    Case("atan2-axes", "aten.atan2.default", lambda x: torch.atan2(x.sign() - 1, x.flip(1)), edges),
    Case("frexp", "aten.frexp.Tensor", torch.frexp, edges),
    Case(
        "frexp-range",
        "aten.frexp.Tensor",
        torch.frexp,
        lambda n: (
            torch.cat(
                [torch.exp2(torch.arange(-126.0, 128.0)), torch.randn(n) * 1e38, torch.randn(n) * 1e-37]
            )[None],
        ),
    ),
    Case("polygamma-1", "aten.polygamma.default", lambda x: torch.polygamma(1, x), positive),
    Case("polygamma-3", "aten.polygamma.default", lambda x: torch.polygamma(3, x) / 100, positive),
    Case("i0", "aten.i0.default", torch.i0, lambda n: (torch.linspace(-9, 9, 3 * n).reshape(3, n),)),
    Case("i0-special", "aten.special_i0.default", torch.special.i0, normal),
    Case("i0e", "aten.special_i0e.default", torch.special.i0e, edges),
    Case(
        "i1",
        "aten.special_i1.default",
        torch.special.i1,
        lambda n: (torch.linspace(-9, 9, 3 * n).reshape(3, n),),
    ),
    Case("i1e", "aten.special_i1e.default", torch.special.i1e, edges),
    Case("j0", "aten.special_bessel_j0.default", torch.special.bessel_j0, waves),
    Case("j1", "aten.special_bessel_j1.default", torch.special.bessel_j1, waves),
    Case("kaiser", "aten.kaiser_window.default", lambda x: x[:, :1] * torch.kaiser_window(8), normal),
    Case(
        "kaiser-symmetric",
        "aten.kaiser_window.periodic",
        lambda x: x[:, :1] * torch.kaiser_window(9, False),
        normal,
    ),
    Case(
        "kaiser-beta",
        "aten.kaiser_window.beta",
        lambda x: x[:, :1] * torch.kaiser_window(9, True, 8.6),
        normal,
    ),
    Case("rrelu", "aten.rrelu.default", F.rrelu, normal),
    Case(
        "smoothed-labels",
        "aten.cross_entropy_loss.default",
        lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2]), label_smoothing=0.2),
        normal,
    ),
    Case(
        "smoothed-labels-of-pixels",
        "aten.cross_entropy_loss.default",
        lambda x: F.cross_entropy(
            x[None], (x[None, 0] > 0).long() * 2, label_smoothing=0.1, ignore_index=0, reduction="none"
        ),
        normal,
    ),
]
