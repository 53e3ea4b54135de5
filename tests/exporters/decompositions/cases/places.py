"""Writing at given places, and bags of embedding rows."""

import torch

from tests.exporters.decompositions.cases.base import Case, normal, whole

F = torch.nn.functional


TABLE = torch.arange(12.0).reshape(6, 2) - 3


def indices(n):
    return (torch.randint(0, 6, (n + 8,)),)


def bags(mode, **given):
    """Bags of 3, 0, 4 and all further indices."""
    return lambda x: F.embedding_bag(x, TABLE, torch.tensor([0, 3, 3, 7]), mode=mode, **given)


CASES = [
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
        "scatter-longer",
        "aten.scatter.src",
        lambda x: x.scatter(1, torch.tensor([[0, 2, 1], [1, 0, 2]]), x),
        normal,
    ),
    Case(
        "scatter-add-longer",
        "aten.scatter_add.default",
        lambda x: x.scatter_add(0, torch.tensor([[0, 2, 1]]), x),
        normal,
    ),
    Case(
        "scatter-largest-longer",
        "aten.scatter_reduce.two",
        lambda x: x.scatter_reduce(1, torch.tensor([[0, 2, 1]]), x, "amax"),
        normal,
    ),
    Case(
        "scatter-number",
        "aten.scatter.value_reduce",
        lambda x: x.scatter(1, torch.tensor([[0, 2, 1]] * 3), 2.0, reduce="multiply"),
        normal,
    ),
    Case(
        "scatter-old",
        "aten.scatter.reduce",
        lambda x: x.scatter(1, torch.tensor([[0, 2, 0]] * 3), x, reduce="add"),
        normal,
    ),
    Case(
        "index-product",
        "aten.index_reduce.default",
        lambda x: x.index_reduce(1, torch.tensor([0, 2, 0]), x[:, :3], "prod"),
        normal,
    ),
    Case(
        "index-mean",
        "aten.index_reduce.default",
        lambda x: x.index_reduce(0, torch.tensor([0, 2, 0]), x * 3, "mean"),
        normal,
    ),
    Case(
        "index-largest-alone",
        "aten.index_reduce.default",
        lambda x: x.index_reduce(-1, torch.tensor([0, 2, 0]), x[:, :3], "amax", include_self=False),
        normal,
    ),
    Case("put", "aten.put.default", lambda x: x.put(torch.tensor([0, -2]), torch.tensor([1, 2])), whole),
    Case(
        "put-sum",
        "aten.put.default",
        lambda x: x.put(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]), accumulate=True),
        normal,
    ),
    Case("bags-sum", "aten.embedding_bag.padding_idx", bags("sum"), indices, 0),
    Case("bags-mean", "aten.embedding_bag.padding_idx", bags("mean", padding_idx=-6), indices, 0),
    Case("bags-largest", "aten.embedding_bag.padding_idx", bags("max", padding_idx=1), indices, 0),
    Case(
        "bags-weighted",
        "aten.embedding_bag.padding_idx",
        lambda x: bags("sum", per_sample_weights=x.float() / 2)(x),
        indices,
        0,
    ),
    Case(
        "bags-rows",
        "aten.embedding_bag.padding_idx",
        lambda x: F.embedding_bag(x.abs(), TABLE, mode="mean"),
        whole,
    ),
    Case(
        "bags-with-the-end",
        "aten.embedding_bag.padding_idx",
        lambda x: F.embedding_bag(
            x[:7], TABLE, torch.tensor([0, 3, 7, 7]), mode="mean", include_last_offset=True
        ),
        indices,
        0,
    ),
]
