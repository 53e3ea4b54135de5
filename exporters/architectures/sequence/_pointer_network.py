"""The network of `pointer_network`: two LSTMs and a pointer, one element and one answer at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._transducer import Cell, LSTMStep
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.pointer_network import PointerNetwork


class Network(torch.nn.Module):
    """Encoder, decoder, and what points from the one to the other."""

    def __init__(self, config: PointerNetwork) -> None:
        super().__init__()
        self.config = config
        self.encoder = LSTMStep(config.features, config.width)
        self.decoder = LSTMStep(config.features, config.width)
        self.key = torch.nn.Linear(config.width, config.width, bias=False)
        self.query = torch.nn.Linear(config.width, config.width, bias=False)
        self.score = torch.nn.Linear(config.width, 1, bias=False)
        initialize(self, config.seed)

    def points(self, state: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """V . tanh(W_1 e_j + W_2 d): [batch, slots] from d [batch, width] and W_1 e_j [batch, slots, width]."""
        return self.score(torch.tanh(keys + self.query(state)[:, None])).squeeze(-1)  # type: ignore[no-any-return]

    def forward(self, elements: torch.Tensor, fed: torch.Tensor) -> torch.Tensor:
        """The whole at once: scores [batch, answers, length] over the elements themselves, however many there are.

        Args:
            elements: [batch, length, features].
            fed: [batch, answers, features]: zeros to begin with, then the elements that were pointed at.
        """
        zero = torch.zeros(len(elements), self.config.width)
        cell: Cell = (zero, zero)
        found = []
        for element in elements.unbind(1):
            cell = self.encoder(element, cell)
            found.append(self.key(cell[0]))
        keys, scores = torch.stack(found, 1), []
        for element in fed.unbind(1):
            cell = self.decoder(element, cell)
            scores.append(self.points(cell[0], keys))
        return torch.stack(scores, 1)


class Read(torch.nn.Module):
    """One element, into a slot."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        element: torch.Tensor,
        place: torch.Tensor,
        hidden: torch.Tensor,
        memory: torch.Tensor,
        keys: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """The next states.

        Args:
            element: [batch, features].
            place: [slots], 1 for the slot that it goes into and 0 for all others.
            hidden: [batch, width].
            memory: [batch, width].
            keys: [batch, slots, width].
        """
        hidden, memory = self.net.encoder(element, (hidden, memory))
        # A product and a sum instead of a scatter: accelerators have both, and the slot is empty before.
        keys = keys + place[:, None] * self.net.key(hidden)[:, None]
        return hidden, memory, keys


class Point(torch.nn.Module):
    """One answer: scores over the slots."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, element: torch.Tensor, hidden: torch.Tensor, memory: torch.Tensor, keys: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Scores [batch, slots], and the next hidden and memory; arguments as `Read` has them."""
        hidden, memory = self.net.decoder(element, (hidden, memory))
        return self.net.points(hidden, keys), hidden, memory


def build(config: PointerNetwork, name: str, length: int) -> TorchModel:
    """Parts, links and rollout; `length` of the rollout's input, and its answers."""
    net = Network(config).eval()

    element = f"element:float32[batch=2,{config.features}]"
    states = (
        f"hidden:float32[batch,{config.width}]", f"memory:float32[batch,{config.width}]",
        f"keys:float32[batch,slots={length},{config.width}]",
    )  # fmt: skip
    sizes = [{"batch": 1, "slots": 2 * length + 3}, {"batch": 3, "slots": 4}]
    carried = ["next_hidden", "next_memory"]
    parts = {
        "encoder": torch_part(
            Read(net), element, "place:float32[slots]", *states, outputs=[*carried, "next_keys"],
            where=name, size_sets=sizes,
        ),
        "decoder": torch_part(
            Point(net), element, *states, outputs=["scores", *carried],
            where=name, size_sets=sizes,
        ),
    }  # fmt: skip
    links = [
        StateLink("encoder", f"next_{state}", to, state)
        for to in ("encoder", "decoder")
        for state in ("hidden", "memory", "keys")
    ]
    links += [StateLink("decoder", f"next_{state}", "decoder", state) for state in ("hidden", "memory")]
    return TorchModel(
        parts, facts(name, net, "combinatorial-optimization"), links=tuple(links),
        rollout=lambda: rollout(net, length),
    )  # fmt: skip


def rollout(net: Network, length: int) -> list[Call]:
    """Every element, then an answer for each of them, with the scores of the whole at once."""
    import numpy as np

    rng = np.random.default_rng(7)
    elements = rng.random((1, length, net.config.features), np.float32)
    order = rng.permutation(length)
    fed = np.concatenate([np.zeros_like(elements[:, :1]), elements[:, order[:-1]]], 1)
    with torch.no_grad():
        whole = net(torch.from_numpy(elements), torch.from_numpy(fed)).numpy()
    place = np.eye(length, dtype=np.float32)
    calls = [Call("encoder", {"element": elements[:, t], "place": place[t]}, {}) for t in range(length)]
    return calls + [Call("decoder", {"element": fed[:, t]}, {"scores": whole[:, t]}) for t in range(length)]
