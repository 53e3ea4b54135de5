"""An elastic classifier of digits as a plugin brings one: the first channels and layers of one network are networks.

Trained with the sandwich rule: every step the whole network, the smallest, and one in between. ELASTIC_WEIGHTS names
the file with its weights.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from edgepack.exporters.architectures._counting import Whole
from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.results import SourceFacts

WIDTHS, DEPTHS = (96, 72), (3, 1)


@dataclass(frozen=True)
class Config:
    width: int
    depth: int


class Elastic(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.first = torch.nn.Linear(64, WIDTHS[0])
        self.layers = torch.nn.ModuleList(torch.nn.Linear(WIDTHS[0], WIDTHS[0]) for _ in range(DEPTHS[0]))
        self.last = torch.nn.Linear(WIDTHS[0], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.config.width
        x = torch.relu(torch.nn.functional.linear(x, self.first.weight[:w], self.first.bias[:w]))
        for layer in list(self.layers)[: self.config.depth]:
            assert isinstance(layer, torch.nn.Linear)
            x = x + torch.relu(torch.nn.functional.linear(x, layer.weight[:w, :w], layer.bias[:w]))
        return torch.nn.functional.linear(x, self.last.weight[:, :w], self.last.bias)


def train(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = Elastic(Config(WIDTHS[0], DEPTHS[0]))
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(120):
        adam.zero_grad()
        middle = Config(WIDTHS[step % 2], DEPTHS[step // 2 % 2])
        for config in (Config(WIDTHS[0], DEPTHS[0]), Config(WIDTHS[-1], DEPTHS[-1]), middle):
            net.config = config
            torch.nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net.state_dict()


def count(config: Config) -> int:
    w = config.width
    return 65 * w + config.depth * (w + 1) * w + 10 * (w + 1)


CARD = Card(
    name="elastic-digits", system="-", paper="A test", arxiv=None, says=("nothing",),
    parts={"main": "x to logits"}, checks=("against torch",),
)  # fmt: skip
CHOICES = {"width": WIDTHS, "depth": DEPTHS}


@architecture(
    CARD, {"whole": Config(96, 3)}, tiny="whole", whole=lambda config: Whole(Elastic(config)),
    lost=lambda _: [], choices=CHOICES, choose=lambda chosen: Config(**chosen),
)  # fmt: skip
def build(config: Config) -> TorchModel:
    net = Elastic(config)
    net.load_state_dict(torch.load(os.environ["ELASTIC_WEIGHTS"], weights_only=True))
    part = torch_part(net, "x:float32[batch=2,64]", outputs=["logits"], where=CARD.name)
    facts = SourceFacts(kind="zoo", location=CARD.name, fingerprint="", parameters=count(config))
    return TorchModel({"main": part}, facts)
