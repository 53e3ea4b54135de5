"""Models that are awkward: what their forward asks for, returns, prints and shares."""

import os
import sys
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from edgepack.exporters.record import record
from edgepack.exporters.sources import SourceRequest
from edgepack.exporters.sources.factory import from_module
from edgepack.exporters.taming import tamed
from edgepack.toolchain.errors import SourceError, UsageError
from tests.exporters.wrongness.exporting import agrees, exported, model


class Needs(torch.nn.Module):
    called = False

    def forward(self, x, mask, scale=1.0, *, steps):
        type(self).called = True
        return x * mask * scale * steps


def test_arguments_that_nobody_gave_are_named_before_anything_runs():
    with pytest.raises(
        SourceError, match=r"forward needs mask, steps, which nobody gave: it takes \(x, mask, "
    ):
        from_module(Needs(), (torch.ones(2, 3),), SourceRequest("net.py:make"))
    with pytest.raises(SourceError, match="forward needs mask, steps"):
        from_module(Needs(), None, SourceRequest("net.py:make", inputs=("x:float32[2,3]",)))
    assert not Needs.called


def test_more_inputs_than_forward_takes():
    request = SourceRequest("net.py:make", inputs=("a:float32[2,3]", "b:float32[2,3]"))
    with pytest.raises(SourceError, match="There are 2 inputs, and forward takes 1"):
        from_module(torch.nn.ReLU(), None, request)


@dataclass
class Result:
    logits: torch.Tensor
    states: tuple[object, ...]
    aux: object = None


class Nested(torch.nn.Module):
    def forward(self, x):
        inner = OrderedDict(mean=x.mean(-1), spread=[x.amax(-1), None])
        return Result(x * 2, (x + 1, inner))


NESTED = ["logits", "states.0", "states.1.mean", "states.1.spread.0"]


def test_nested_outputs_have_joined_names_and_none_is_noted(tmp_path):
    program, _ = exported(model(Nested(), "x:float32[n=2,3]"), tmp_path, "dynamo")
    assert [s.name for s in program.parts["main"].signature.outputs] == NESTED
    assert agrees(program)
    assert "outputs left out, forward returns None for them: states.1.spread.1, aux" in program.notes


class Shuffled(torch.nn.Module):
    """Names in the order of a set: every call may return them in another one."""

    orders = 0

    def forward(self, x):
        made = {"a": x + 1, "b": x * 2, "c": x - 3}
        type(self).orders += 1
        names = ["a", "b", "c"] if self.orders % 2 else ["c", "a", "b"]
        return {name: made[name] for name in names}


def test_outputs_keep_their_names_whatever_order_they_come_in(tmp_path):
    program, _ = exported(model(Shuffled(), "x:float32[n=2,3]"), tmp_path, "dynamo")
    x = program.parts["main"].cases[0].inputs["x"]
    assert np.allclose(program.parts["main"].cases[0].outputs["b"], x * 2)
    assert agrees(program)


class Same(torch.nn.Module):
    def forward(self, x):
        y = x * 2
        return x, y, y


def test_an_output_that_is_an_input_or_another_output(tmp_path):
    program, _ = exported(model(Same(), "x:float32[n=2,3]", outputs=["p", "q", "r"]), tmp_path, "dynamo")
    assert agrees(program)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (lambda x: {"y": x, "loss": 3.0}, "The output 'loss' of forward is float, not a tensor"),
        (lambda x: (x, [x, 4]), r"The output 'output_1\.1' of forward is int"),
        (lambda _: "text", "The output 'output' of forward is str"),
        (lambda _: [None, {}], "forward returned no tensor"),
        (lambda x: {"a": [x], "a.0": x}, r"Two outputs of forward are called 'a\.0'"),
    ],
)
def test_what_is_no_tensor_is_refused_by_name(result, text):
    class Returns(torch.nn.Module):
        def forward(self, x):
            return result(x)

    with pytest.raises(SourceError, match=text):
        tamed(model(Returns(), "x:float32[2,3]"))


def test_lazy_weights_are_made_by_one_call(tmp_path):
    net = torch.nn.Sequential(torch.nn.LazyLinear(5), torch.nn.ReLU(), torch.nn.LazyLinear(2))
    opened = from_module(net, (torch.ones(2, 3),), SourceRequest("net.py:make"))
    assert opened.facts.parameters == 3 * 5 + 5 + 5 * 2 + 2
    program, _ = exported(opened, tmp_path, "dynamo")
    assert agrees(program)


def test_lazy_weights_with_inputs_that_do_not_fit():
    net = torch.nn.Sequential(torch.nn.LazyLinear(5), torch.nn.Linear(7, 2))
    with pytest.raises(SourceError, match="in the call that initialises its lazy parameters"):
        from_module(net, (torch.ones(2, 3),), SourceRequest("net.py:make"))


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(64, 32)
        self.head = torch.nn.Linear(32, 64, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))


@pytest.mark.parametrize("rung", ["dynamo", "torchscript"])
def test_tied_weights_are_in_the_file_once(tmp_path, rung):
    program, _ = exported(model(Tied(), "ids:int64[batch=2,n=3]", upper={"ids": 64}), tmp_path, rung)
    assert agrees(program)
    [data] = tmp_path.glob("*.data")
    assert data.stat().st_size == 64 * 32 * 4


class Noisy(torch.nn.Module):
    def forward(self, x):
        print("on standard output")  # noqa: T201
        sys.stderr.write("on standard error")
        return x * 2


def test_a_model_that_prints(tmp_path):
    program, _ = exported(model(Noisy(), "x:float32[2,3]"), tmp_path, "dynamo")
    assert agrees(program)


class Forks(torch.nn.Module):
    def forward(self, x):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return x * 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_model_that_forks(tmp_path):
    program, _ = exported(model(Forks(), "x:float32[2,3]"), tmp_path, "dynamo")
    assert agrees(program)


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(6, 4)

    def forward(self, x):
        return x + self.table(torch.arange(x.shape[1]))


def test_a_size_beyond_the_limit_is_an_error_of_usage():
    part = model(Positions(), "x:float32[batch=2,n=8,4]", limits={"n": 6})
    for check in (tamed, lambda opened: record(opened.main)):
        with pytest.raises(UsageError, match="The dimension 'n' is 8, and the model takes 6 at most"):
            check(part)


def test_a_table_that_ends_limits_the_sizes_that_are_tried(tmp_path):
    program, answer = exported(model(Positions(), "x:float32[batch=2,n=6,4]"), tmp_path, "dynamo")
    assert answer["main"]["rung"] == "dynamo"
    assert [case.inputs["x"].shape[1] for case in program.parts["main"].cases] == [6, 1, 6]
    assert any("the dimension 'n' goes up to 6: forward raises for" in note for note in program.notes)
    assert agrees(program)


def test_a_forward_that_raises_says_with_what_it_was_called():
    with pytest.raises(SourceError, match=r"forward raised RuntimeError.*called with x float32\[2, 3\]"):
        tamed(model(torch.nn.Linear(4, 2), "x:float32[2,3]"))


class Changing(torch.nn.Module):
    def forward(self, x):
        return {"few": x} if x.shape[0] < 3 else {"many": x}


def test_other_outputs_for_another_size():
    with pytest.raises(SourceError, match="forward returned few for one input, and for another many"):
        record(model(Changing(), "x:float32[n=2,3]").main)
