"""A written-out loop is found, and what only looks like one is not: real exports of both."""

import pytest
import torch

from edgepack.exporters.scans.linear import linear_scan
from edgepack.exporters.scans.unrolled import unrolled
from edgepack.exporters.translations import remembered

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Cell(torch.nn.Module):
    """A recurrent cell in a Python loop, over a tensor's places, its parts, or from the end."""

    def __init__(self, way, length=20):
        super().__init__()
        self.inner, self.outer, self.way = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), way
        self.length = length

    def forward(self, x):
        h = torch.zeros_like(x[:, 0])
        steps = {
            "places": lambda: [x[:, t] for t in range(self.length)],
            "slices": lambda: [x[:, t : t + 1].squeeze(1) for t in range(self.length)],
            "parts": lambda: [v.squeeze(1) for v in x.split(1, 1)],
            "backwards": lambda: [x[:, t] for t in reversed(range(self.length))],
            "unbind": lambda: x.unbind(1),
        }[self.way]()
        outputs = []
        for step in steps:
            h = torch.tanh(self.inner(step) + self.outer(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class Codebooks(torch.nn.Module):
    """Twenty places, added up one after the other, each with a table of its own."""

    def __init__(self):
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(20))

    def forward(self, x):
        y = torch.zeros_like(x[:, 0])
        for t, table in enumerate(self.tables):
            y = y + table(x[:, t])
        return y


class Apart(torch.nn.Module):
    """The same block at every place, none of which reads another."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x):
        return torch.stack([torch.tanh(self.linear(x[:, t])) for t in range(20)], 1)


class Scanned(torch.nn.Module):
    def forward(self, x):
        return linear_scan(torch.sigmoid(x), x)[0]


def model(module, *, optimize=False):
    program = torch.export.export(module.eval(), (torch.randn(2, 20, 8),))
    with remembered():
        return torch.onnx.export(program, dynamo=True, verbose=False, optimize=optimize).model


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("way", ["places", "slices", "parts", "backwards", "unbind"])
def test_a_written_out_loop_is_found(way, optimize):
    text = unrolled(model(Cell(way), optimize=optimize))
    assert text is not None
    assert "20 equal blocks" in text
    assert "Tanh" in text
    assert ("from the last to the first" in text) == (way == "backwards")


def layers(count):
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return torch.nn.TransformerEncoder(layer, count, enable_nested_tensor=False)


@pytest.mark.parametrize(
    "module",
    [
        layers(18),
        Codebooks(),
        Apart(),
        Scanned(),
        Cell("places", length=10),
        torch.nn.LSTM(8, 8, batch_first=True),
    ],
    ids=["layers", "codebooks", "apart", "scanned", "short", "lstm"],
)
def test_what_is_no_loop_is_not_called_one(module):
    assert unrolled(model(module)) is None
