"""Every decomposition of the registry: torch, exported, decomposed, translated, and run at two sizes."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
import torch
from torch.export import Dim

from edgepack.exporters.decompositions.apply import decompose
from edgepack.exporters.decompositions.base import WRAPPERS, decompositions
from edgepack.exporters.translations import remembered
from tests.exporters.decompositions.cases import CASES

# What the exporter says of itself while it works
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def exported(function, inputs, dims):
    return torch.export.export(Module(function), inputs, dynamic_shapes=(dims,))


def session(program):
    with remembered():
        translated = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    return onnxruntime.InferenceSession(translated.model_proto.SerializeToString())


def leaves(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


def dimensions(case):
    """Per input of a case, the axes that vary."""
    axes = [case.axis, *case.others]
    axes += [None] * (len(case.inputs(5)) - len(axes))
    return tuple({} if axis is None else {axis: Dim.DYNAMIC} for axis in axes)


class Several(torch.nn.Module):
    """Cases side by side: an export costs seconds whatever it exports."""

    def __init__(self, cases):
        super().__init__()
        self.cases = cases

    def forward(self, *inputs):
        found = []
        for case in self.cases:
            taken = len(case.inputs(5))
            found += leaves(case.function(*inputs[:taken]))
            inputs = inputs[taken:]
        return tuple(found)


TOGETHER = [CASES[start : start + 8] for start in range(0, len(CASES), 8)]


@pytest.mark.slow
@pytest.mark.parametrize("cases", TOGETHER, ids=lambda cases: f"{cases[0].name}-to-{cases[-1].name}")
def test_a_decomposition_computes_what_torch_computes(cases):
    torch.manual_seed(7)
    inputs = tuple(value for case in cases for value in case.inputs(5))
    dims = tuple(dim for case in cases for dim in dimensions(case))
    program = torch.export.export(Several(cases), inputs, dynamic_shapes=(dims,))
    program, counts = decompose(program)
    asked = Counter(case.operator for case in cases)
    assert {name: counts.get(name, 0) for name in asked if counts.get(name, 0) < asked[name]} == {}
    runner = session(program)
    names = [value.name for value in runner.get_inputs()]
    for n in (5, 8, 3):
        given = [case.inputs(n) for case in cases]
        flat = [value.numpy() for inputs in given for value in inputs]
        got = iter(runner.run(None, dict(zip(names, flat, strict=True))))
        for case, inputs in zip(cases, given, strict=True):
            for tensor in leaves(case.function(*inputs)):
                want, have = tensor.numpy(), next(got)
                assert (have.shape, have.dtype) == (want.shape, want.dtype), case.name
                np.testing.assert_allclose(
                    have, want, rtol=case.tolerance, atol=case.tolerance, err_msg=f"{case.name}, n = {n}"
                )


def test_every_member_has_a_case():
    assert {case.operator for case in CASES} == {*decompositions.names(), *WRAPPERS}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.relu(x).sum(1),
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x.reshape(1, 3, 2, -1), (1, 1)),
        lambda x: x.scatter_reduce(0, (x > 0).long(), x, "amax"),
    ],
    ids=["none", "even-pooling", "maximum"],
)
def test_a_program_that_needs_nothing_is_handed_back(function):
    program = exported(function, (torch.randn(3, 4),), ({},))
    same, counts = decompose(program)
    assert same is program
    assert counts == {}


def test_what_is_declined_is_not_counted():
    both = lambda x, y: (torch.erfinv(x), torch.erfinv(y))  # noqa: E731
    inputs = (torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    program, counts = decompose(exported(both, inputs, ({}, {})))
    assert counts == {"aten.erfinv.default": 1}
    assert [str(n.target) for n in program.graph.nodes].count("aten.erfinv.default") == 1


def test_subgraphs_are_looked_into():
    def branches(x):
        return torch.cond(x.sum() > 0, lambda y: y.cumprod(0), lambda y: y.flip(0), (x,))

    program, counts = decompose(exported(branches, (torch.arange(1.0, 5.0),), ({0: Dim.DYNAMIC},)))
    assert counts == {"aten.cumprod.default": 1}
    runner = session(program)
    name = runner.get_inputs()[0].name
    for x in (torch.arange(1.0, 7.0), -torch.arange(1.0, 4.0)):
        np.testing.assert_allclose(runner.run(None, {name: x.numpy()})[0], branches(x).numpy())
