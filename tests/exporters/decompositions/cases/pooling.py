"""Adaptive pooling."""

import torch

from tests.exporters.decompositions.cases.base import Case

F = torch.nn.functional


def image(n):
    return (torch.randn(2, 3, n + 3, 5),)


CASES = [
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
]
