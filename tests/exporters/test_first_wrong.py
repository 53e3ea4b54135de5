"""The first module that a traced graph computes otherwise than torch."""

import pytest
import torch

from edgepack.exporters.first_wrong import first_wrong, observe
from edgepack.toolchain.pipeline.judging import tensors
from tests.exporters.wrongness.exporting import agrees, exported, model


class Middle(torch.nn.Module):
    """A layer that does something else while it is traced."""

    def __init__(self, *, wrong):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.wrong = wrong

    def forward(self, x):
        x = self.linear(x)
        return x * 3.0 if self.wrong and torch.compiler.is_exporting() else x * 1.5


def network(wrong):
    """Three middle layers, of which the one numbered `wrong` goes wrong."""
    torch.manual_seed(0)
    layers = [Middle(wrong=index == wrong) for index in range(3)]
    return torch.nn.Sequential(torch.nn.Linear(4, 4), *layers, torch.nn.Linear(4, 2))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [None, 1])
def test_the_middle_layer_is_named(tmp_path, wrong):
    net = network(wrong)
    program, _ = exported(model(net, "x:float32[n=3,4]"), tmp_path, "dynamo")
    part = program.parts["main"]
    assert agrees(program) == (wrong is None)
    inputs = part.cases[0].inputs
    observed = observe(net, [torch.from_numpy(value) for value in inputs.values()])
    assert list(observed) == ["0", "1.linear", "1", "2.linear", "2", "3.linear", "3", "4"]
    found = first_wrong(part.path, inputs, observed, tensors)
    if wrong is None:
        assert found is None
    else:
        assert found.endswith("(module 2)")


def test_of_several_calls_of_a_module_the_last_counts():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Linear(1, 1, bias=False)
            torch.nn.init.constant_(self.scale.weight, 2.0)

        def forward(self, x):
            return self.scale(self.scale(x))

    assert observe(Twice(), [torch.ones(1, 1)])["scale"].tolist() == [[4.0]]
