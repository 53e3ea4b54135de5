"""Distances between points."""

import torch

from tests.exporters.decompositions.cases.base import Case

F = torch.nn.functional

CASES = [
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
]
