"""The network of Birdie: gated state-space layers that read a prefix from both ends and go on from its last state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._scan import scan
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.birdie import Birdie


class GatedSSM(torch.nn.Module):
    """One state for every inner channel; the first `backward` channels read the prefix from its end."""

    def __init__(self, config: Birdie) -> None:
        super().__init__()
        self.config = config
        inner = config.inner
        self.keep = torch.nn.Linear(config.width, inner, bias=False)
        self.enter = torch.nn.Linear(config.width, 3 * inner, bias=False)
        self.out = torch.nn.Linear(inner, config.width, bias=False)

    def forward(self, x: torch.Tensor, prefix: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A whole sequence [batch, length, width] whose first `prefix` positions are the prefix; the last state."""
        keep, update, gate = self._elements(x)
        there, limit = self.config.backward, self.config.positions
        turned = scan(keep[:, :prefix, :there], update[:, :prefix, :there], limit, backward=True)
        if prefix < x.shape[1]:
            # What is generated knows nothing of the other direction: it goes on from where the prefix ends.
            last = turned[:, prefix - 1]
            on = scan(keep[:, prefix:, :there], update[:, prefix:, :there], limit, initial=last)
            turned = torch.cat([turned, on], 1)
        states = torch.cat([turned, scan(keep[..., there:], update[..., there:], limit)], -1)
        return self.out(states * gate), states[:, -1]

    def prefill(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A prefix, all of it; any length."""
        keep, update, gate = self._elements(x)
        there, limit = self.config.backward, self.config.positions
        turned = scan(keep[..., :there], update[..., :there], limit, backward=True)
        states = torch.cat([turned, scan(keep[..., there:], update[..., there:], limit)], -1)
        return self.out(states * gate), states[:, -1]

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One position [batch, width], forward in all channels."""
        keep, update, gate = self._elements(x)
        state = keep * state + update
        return self.out(state * gate), state

    def _elements(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keep = self.keep(x).sigmoid()
        update, entry, gate = self.enter(x).chunk(3, -1)
        return keep, update * entry.sigmoid() * (1 - keep), gate.sigmoid()


class Layer(torch.nn.Module):
    """x + ssm(norm x), then x + mlp(norm x)."""

    def __init__(self, config: Birdie) -> None:
        super().__init__()
        self.norm = RMSNorm(config.width)
        self.ssm = GatedSSM(config)
        self.mlp_norm = RMSNorm(config.width)
        self.mlp = GatedMLP(config.width, config.hidden)

    def leave(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """What follows the state-space model."""
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """A `Decoder` (`_decoding.py`) whose prompt is the prefix; one state for every layer."""

    def __init__(self, config: Birdie) -> None:
        super().__init__()
        self.config = config
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)
        self.head = torch.nn.Linear(config.width, config.vocabulary, bias=False)
        initialize(self, config.seed)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """See `whole`."""
        return self.whole(ids)

    def whole(self, ids: torch.Tensor, prefix: int | None = None) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary]; the prefix is as long as the rollout's prompt where None."""
        from edgepack.exporters.architectures.sequence._decoding import PROMPT

        x = self.embed(ids)
        for layer in _all(self.layers):
            x = layer.leave(x, layer.ssm(layer.norm(x), PROMPT if prefix is None else prefix)[0])
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def prefill(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """A prefix, read in both directions."""
        x, states = self.embed(ids), []
        for layer in _all(self.layers):
            mixed, state = layer.ssm.prefill(layer.norm(x))
            x = layer.leave(x, mixed)
            states.append(state)
        return self.head(self.norm(x[:, -1])), states

    def step(
        self, ids: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """One generated token; where it stands makes no difference."""
        x, after = self.embed(ids), []
        for layer, old in zip(_all(self.layers), states, strict=True):
            mixed, state = layer.ssm.step(layer.norm(x), old)
            x = layer.leave(x, mixed)
            after.append(state)
        return self.head(self.norm(x)), after


def _all(modules: torch.nn.ModuleList) -> list[Any]:
    return list(modules)


def state_shapes(config: Birdie) -> dict[str, str]:
    """Specifications of all states, by name and in order."""
    return {f"state_{i}": f"{config.inner}" for i in range(config.layers)}
