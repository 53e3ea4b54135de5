"""Training of the image networks on Fashion-MNIST; all that decides their weights, but for the plans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from tests.trained import fashion_mnist, networks, training

BATCH, SMOOTHING, SHIFT = 128, 0.05, 1
CODE = ("../../toolchain/datasets/fashion_mnist.py", "classifiers.py", "networks.py", "training.py")
WEIGHTS = "weights.safetensors"


class Plan(NamedTuple):
    """A network and how long it is trained.

    Attributes:
        kind: "cnn" or "vit".
        width: Of the network.
        images: How many training images it sees, repetitions counted.
        rate: The largest learning rate.
    """

    kind: str
    width: int
    images: int
    rate: float

    def network(self) -> torch.nn.Module:
        """The network with weights from the generator's current state."""
        if self.kind == "cnn":
            return networks.Cnn(self.width)
        return networks.Vit(self.width, layers=4, heads=2)


def train(plan: Plan, into: Path) -> None:
    """Train a network, and write its weights into a folder."""
    from safetensors.torch import save_file

    pixels, labels = (torch.from_numpy(values) for values in fashion_mnist.load("train"))
    with training.repeatable():
        network = plan.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows = _rows(len(pixels))

        def loss(chance: torch.Generator) -> torch.Tensor:
            chosen = next(rows)
            logits = network(augmented(pixels[chosen], chance))
            return torch.nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=SMOOTHING)

        training.train(network, loss, plan.images // BATCH, plan.rate)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, into / WEIGHTS)


def augmented(batch: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Every other image mirrored, all shifted by up to one pixel."""
    mirrored = torch.rand(len(batch), generator=chance) < 0.5
    batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
    down, right = (int(torch.randint(0, 2 * SHIFT + 1, (), generator=chance)) for _ in range(2))
    wide = torch.nn.functional.pad(batch, (SHIFT,) * 4, value=float(batch.min()))
    return wide[..., down : down + batch.shape[-2], right : right + batch.shape[-1]]


def _rows(count: int) -> Iterator[torch.Tensor]:
    """Full batches of row numbers, in a new order each time around."""
    while True:
        yield from torch.randperm(count).split(BATCH)[:-1]
