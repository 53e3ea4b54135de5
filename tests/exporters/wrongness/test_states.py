"""Modules with a memory: what they keep becomes inputs and outputs, or is refused by name."""

import numpy as np
import pytest
import torch

from edgepack.exporters.taming import tamed
from edgepack.toolchain.errors import ExportError, SourceError
from tests.exporters.wrongness.exporting import agrees, exported, model


class InPlace(torch.nn.Module):
    total: torch.Tensor

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(4, 4)
        self.register_buffer("total", torch.full((4,), 0.5))

    def forward(self, x):
        self.total.mul_(0.9).add_(self.mix(x).mean(0))
        return x + self.total


class Count(torch.nn.Module):
    count: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


class Reassigned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Count()

    def forward(self, x):
        self.inner.count = self.inner.count + 1
        return x * self.inner.count


class Last(torch.nn.Module):
    """The difference to the frame before, which is kept in a plain attribute."""

    def __init__(self):
        super().__init__()
        self.last = torch.zeros(2, 4)

    def forward(self, x):
        change = x - self.last
        self.last = x
        return change


class Unreturned(torch.nn.Module):
    """Changes a buffer on which no output depends."""

    calls: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x.tanh()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fool", [InPlace(), Reassigned(), Last(), Unreturned()], ids=lambda f: type(f).__name__
)
def test_a_state_becomes_an_input_and_an_output_and_32_calls_agree(tmp_path, fool):
    # A batch that varies where the state allows it.
    inputs = "x:float32[2,4]" if isinstance(fool, Last) else "x:float32[batch=2,4]"
    before = {key: value.clone() for key, value in fool.state_dict().items()}
    program, answer = exported(model(fool, inputs), tmp_path)
    name = {InPlace: "total", Reassigned: "inner.count", Last: "last", Unreturned: "calls"}[type(fool)]
    assert [(link.output, link.input) for link in program.links] == [(f"next_{name}", name)]
    assert len(program.rollout) == 32
    assert agrees(program)
    assert answer["main"]["rung"] == "dynamo"
    assert any(name in note and "32 calls" in note for note in program.notes)
    # The module itself is as it was.
    assert all(torch.equal(value, before[key]) for key, value in fool.state_dict().items())
    start = program.parts["main"].initial[name]
    owner, _, last = name.rpartition(".")
    assert np.array_equal(getattr(fool.get_submodule(owner), last).numpy(), start)


@pytest.mark.slow
def test_another_start_fails_the_rollout(tmp_path):
    program, _ = exported(model(InPlace(), "x:float32[2,4]"), tmp_path)
    program.parts["main"].initial = {"total": np.zeros(4, np.float32)}
    assert not agrees(program)


def test_a_stateful_module_by_torchscript(tmp_path):
    opened = tamed(model(InPlace(), "x:float32[2,4]"))
    program, _ = exported(opened, tmp_path, "torchscript")
    program.rollout = opened.rollout()  # type: ignore[misc]
    assert agrees(program)


class PythonCounter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n = 0

    def forward(self, x):
        self.n += 1
        return x * self.n


class CachedFirst(torch.nn.Module):
    """Calls with one input agree: only another input shows that the first one was kept."""

    def __init__(self):
        super().__init__()
        self.cache = None

    def forward(self, x):
        if self.cache is None:
            self.cache = x
        return x + self.cache


class Growing(torch.nn.Module):
    past: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("past", torch.zeros(1, 4))

    def forward(self, x):
        self.past = torch.cat([self.past, x])
        return self.past.sum(0) + x


OUTSIDE: list[int] = []


class Outside(torch.nn.Module):
    def forward(self, x):
        OUTSIDE.append(1)
        return x * len(OUTSIDE)


@pytest.mark.parametrize(
    ("fool", "text"),
    [
        (PythonCounter(), r"the attribute 'n' \(int before, int after\).*several calls differ"),
        (CachedFirst(), r"the attribute 'cache' \(None before, float32\[2, 4\] after\)"),
        (Growing(), r"the buffer 'past' \(float32\[1, 4\] before, float32\[\d+, 4\] after\)"),
        (Outside(), "order of a set or on a variable outside"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_a_state_is_named(fool, text):
    with pytest.raises(ExportError, match=text):
        tamed(model(fool, "x:float32[2,4]"))


class HarmlessCounter(InPlace):
    """A number that nobody reads, beside a state."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, x):
        self.seen += 1
        return super().forward(x)


class Table(torch.nn.Module):
    """A table made at the first call and used ever after: no state."""

    def __init__(self):
        super().__init__()
        self.table: torch.Tensor | None = None

    def forward(self, x):
        if self.table is None:
            self.table = torch.arange(4.0)
        return x + self.table


def test_what_no_output_depends_on_is_left_alone():
    assert [link.input for link in tamed(model(HarmlessCounter(), "x:float32[2,4]")).links] == ["total"]
    assert tamed(model(Table(), "x:float32[2,4]")).links == ()


class Learns(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Linear(4, 4)

    def forward(self, x):
        self.scale.weight.data.mul_(1.0 + 1e-6)
        return self.scale(x)


def test_a_parameter_that_forward_changes_is_an_error_of_the_source():
    with pytest.raises(SourceError, match=r"changes its own parameter 'scale\.weight'") as caught:
        tamed(model(Learns(), "x:float32[2,4]"))
    assert type(caught.value) is SourceError


def test_a_sound_model_is_left_as_it_is():
    opened = model(torch.nn.Linear(4, 2), "x:float32[n=2,4]", outputs=["y"])
    kept = tamed(opened)
    assert kept.parts["main"] is opened.parts["main"]
    assert kept.notes == []


class Hooked(torch.nn.Module):
    """Installs hooks in its first call, as transformers does to collect hidden states."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        if not getattr(self, "_hooks_are_installed", False):
            self.layer.register_forward_hook(lambda _module, _inputs, output: 2 * output)
            self._hooks_are_installed = True
        return self.layer(x)


def test_hooks_of_a_first_call_are_not_installed_twice():
    module = Hooked()
    tamed(model(module, "x:float32[n=2,4]", outputs=["y"]))
    x = torch.ones(1, 4)
    torch.testing.assert_close(
        module(x), 2 * torch.nn.functional.linear(x, module.layer.weight, module.layer.bias)
    )
