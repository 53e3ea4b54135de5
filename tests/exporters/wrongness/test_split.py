"""The last rung: networks as parts, and control left on the host."""

import pytest
import torch

from edgepack.exporters._worker import export_model
from edgepack.exporters.rungs.split import split
from edgepack.exporters.sources import TorchModel
from edgepack.exporters.taming import tamed
from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.program import Program
from tests.exporters.wrongness.exporting import agrees, exported, model


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))

    def forward(self, x, *, weight=None, twice=False):
        y = self.net(x) * (2 if twice else 1)
        return y if weight is None else y * weight


class Host(torch.nn.Module):
    """Runs its encoder until a number is large enough, which no graph can know beforehand."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = Encoder()
        self.heads = torch.nn.ModuleList(torch.nn.Linear(8, 2) for _ in range(2))
        self.activation = torch.nn.Tanh()

    def forward(self, x):
        h = self.encoder(x, weight=x.mean(-1, keepdim=True), twice=True)
        for _ in range(int(x.abs().sum()) % 3 + 1):
            h = self.activation(h * 1.5)
        return self.heads[0](h) + self.heads[1](h)


@pytest.mark.slow
def test_children_become_parts_and_the_note_says_what_is_missing(tmp_path):
    program, answer = exported(model(Host(), "x:float32[batch=3,4]"), tmp_path, "static", "split")
    assert list(program.parts) == list(answer) == ["encoder", "heads.0", "heads.1"]
    encoder = program.parts["encoder"].signature
    assert [str(s) for s in encoder.inputs] == ["input:float32[batch,4]", "weight:float32[batch,1]"]
    assert [s.shape for s in encoder.outputs] == [("batch", 8)]
    assert agrees(program)
    assert answer["encoder"]["left"][0].startswith("static: ")
    assert (
        "split: forward's own code is not in the artifact; parts are called as encoder -> heads.0 -> heads.1"
        in answer["encoder"]["notes"]
    )
    # The inputs are those that forward gave: the reference is the model's own.
    net = Host()
    case = program.parts["heads.0"].cases[0]
    made = net.heads[0](torch.from_numpy(case.inputs["input"])).detach().numpy()
    assert abs(made - case.outputs["output"]).max() < 1e-6
    # A child is exported again by another rung, as after a wrong graph.
    export_model(model(net, "x:float32[batch=3,4]"), tmp_path, {"heads.1": ["torchscript"]})
    again = Program.load(tmp_path)
    assert list(again.parts) == ["encoder", "heads.0", "heads.1"]
    assert agrees(again)


class OnlyFunctions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(100))
        self.small = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.small(x) * self.weight.sum()


class TakesList(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.child = Takes()

    def forward(self, x):
        return self.child([x, x])


class Takes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 4)

    def forward(self, xs):
        return self.net(xs[0]) + xs[1]


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (OnlyFunctions(), "hold 20 of 120 parameters"),
        (TakesList(), "hold 0 of 20 parameters.*child: its input is list, not a tensor"),
        (torch.nn.ReLU(), "hold 0 of 0 parameters"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_of_no_use_is_refused(net, text):
    with pytest.raises(ExportError, match=text):
        split("main", tamed(model(net, "x:float32[3,4]")).main)


def test_children_of_another_part_bear_its_name():
    opened = model(torch.nn.Sequential(torch.nn.Linear(4, 2)), "x:float32[3,4]")
    opened = TorchModel({"image": opened.main}, opened.facts)
    assert list(split("image", tamed(opened).parts["image"])[0]) == ["image.0"]


def test_a_split_that_fails_gives_the_reasons_of_all_rungs(tmp_path):
    class Loop(torch.nn.Module):
        def forward(self, x):
            return x * float(x.sum()) if x.sum() > 0 else x

    with pytest.raises(ExportError, match=r"static: .* / split: .*hold 0 of 0 parameters"):
        exported(model(Loop(), "x:float32[3,4]"), tmp_path, "static", "split")
