"""Running extrema and products, order statistics, sorting, searching, picking."""

import torch

from tests.exporters.decompositions.cases.base import Case, normal, whole, with_gaps


def pick(x, pair, dim):
    """Values, and what the positions point at: torch leaves open which of equal elements it is."""
    return pair[0], x.gather(dim, pair[1])


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
    Case("mode", "aten.mode.default", lambda x: x.mode(1), whole),
    Case("mode-floats", "aten.mode.default", lambda x: x.round().mode(0, keepdim=True)[0], normal),
    Case("sort-stable", "aten.sort.stable", lambda x: torch.sort(x, dim=1, stable=True), whole),
    Case(
        "argsort-stable-descending",
        "aten.argsort.stable",
        lambda x: torch.argsort(x, dim=0, descending=True, stable=True),
        whole,
    ),
    Case("masked-select", "aten.masked_select.default", lambda x: x.masked_select(x > 0), normal),
    Case(
        "masked-select-broadcast",
        "aten.masked_select.default",
        lambda x: x.masked_select(torch.tensor([[True], [False], [True]])),
        normal,
    ),
]
