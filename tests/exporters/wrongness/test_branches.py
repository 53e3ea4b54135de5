"""Branches, routes and lengths that a trace froze: the first check passes, the others do not."""

from dataclasses import replace

import pytest
import torch

from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.pipeline.judging import GraphJudge
from tests.exporters.wrongness.exporting import agrees, exported, model


class OnData(torch.nn.Module):
    def forward(self, x):
        return x * 2.0 if x.sum() > 0 else x - 1.0


class OnScale(torch.nn.Module):
    """The sum's sign is the same for all inputs: only larger values take the other branch."""

    def forward(self, x):
        return x * 2.0 if x.abs().max() > 3.6 else x - 1.0


class OnSize(torch.nn.Module):
    def forward(self, x):
        return x * 2.0 if x.shape[0] > 3 else x - 1.0


class Experts(torch.nn.Module):
    """The busiest expert takes the whole batch: Python chooses it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.router = torch.nn.Linear(4, 3)
        self.experts = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return self.experts[int(self.router(x).sum(0).argmax())](x)


class BakedLength(torch.nn.Module):
    """A position per element, as many as there were when it was traced."""

    def forward(self, x):
        return x + torch.tensor([float(i) for i in range(int(x.shape[1]))])


def first_only(program):
    """The program as a check of one input sees it."""
    return [GraphJudge().part(replace(part, cases=part.cases[:1])).passed for part in program]


@pytest.mark.parametrize(
    ("fool", "inputs"),
    [
        (OnData(), "x:float32[3,4]"),
        (OnSize(), "x:float32[n=3,4]"),
        (OnScale(), "x:float32[3,4]"),
        (Experts(), "x:float32[3,4]"),
        (BakedLength(), "x:float32[2,n=4]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_trace_froze_shows_on_other_inputs_only(tmp_path, fool, inputs):
    program, answer = exported(model(fool, inputs), tmp_path, "torchscript")
    assert answer["main"]["rung"] == "torchscript"
    assert first_only(program) == [True]
    assert not agrees(program)


def test_the_sign_of_the_sum_is_turned_in_the_ordinary_cases(tmp_path):
    program, _ = exported(model(OnData(), "x:float32[3,4]"), tmp_path, "torchscript")
    sums = [float(case.inputs["x"].sum()) for case in program.parts["main"].cases[:3]]
    assert sums[0] * sums[1] < 0
    program.parts["main"].cases = program.parts["main"].cases[:3]
    assert not agrees(program)


def test_a_scale_shows_in_the_alternatives_alone(tmp_path):
    program, _ = exported(model(OnScale(), "x:float32[3,4]"), tmp_path, "torchscript")
    part = program.parts["main"]
    assert {"negated", "shifted", "times 3", "a third", "zeros", "ones"} <= {c.label for c in part.cases}
    part.cases = [case for case in part.cases if case.label != "times 3"]
    assert agrees(program)


def test_torch_tells_what_it_froze(tmp_path):
    _, answer = exported(model(Experts(), "x:float32[3,4]"), tmp_path, "torchscript")
    assert any("test_branches.py" in note and "froze" in note for note in answer["main"]["notes"])


def test_a_sound_trace_counts(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 300), torch.nn.ReLU(), torch.nn.Linear(300, 2))
    program, answer = exported(model(net, "x:float32[n=3,4]", outputs=["y"]), tmp_path, "torchscript")
    assert agrees(program)
    part = program.parts["main"]
    assert len(part.cases) >= 11
    assert part.signature.outputs[0].shape == ("n", 2)
    assert answer["main"]["notes"] == []
    # Nothing else than the weight file is left beside the graph.
    assert {path.suffix for path in tmp_path.iterdir()} == {".onnx", ".data", ".npz", ".json"}


@pytest.mark.slow
def test_a_branch_on_data_has_no_rung_that_holds(tmp_path):
    reasons = r"dynamo, static: GuardOnDataDependent.* / dynamo-strict: Unsupported: Data-dependent branching"
    with pytest.raises(ExportError, match=reasons):
        exported(model(OnData(), "x:float32[3,4]"), tmp_path, "dynamo", "dynamo-strict", "static")
