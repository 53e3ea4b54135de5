"""The network of Birdie: gated state-space layers, half of which read a prefix from both of its ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._scan import scan
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.sequence._mixing import all_of

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.birdie import Birdie


class GatedSSM(torch.nn.Module):
    """One number of state for every inner channel; the last half of a bidirectional layer's run backward.

    Args:
        config: Sizes.
        bidirectional: Whether that half does.
    """

    def __init__(self, config: Birdie, *, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = config.inner // 2 if bidirectional else config.inner
        self.limit = config.positions
        self.enter = torch.nn.Linear(config.width, 4 * config.inner, bias=False)
        self.out = torch.nn.Linear(config.inner, config.width, bias=False)

    def forward(self, x: torch.Tensor, prefix: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A whole sequence [batch, length, width] that begins with `prefix` positions of prefix; and the last state."""
        keep, update, gate = self._elements(x)
        ahead = self.ahead
        states = scan(keep[..., :ahead], update[..., :ahead], self.limit)
        last = states[:, -1]
        if ahead < update.shape[-1]:
            back = scan(keep[:, :prefix, ahead:], update[:, :prefix, ahead:], self.limit, backward=True)
            # Behind the prefix these channels forget all but the present, or they would tell of the future.
            back = torch.cat([back, update[:, prefix:, ahead:]], 1) if prefix < x.shape[1] else back
            states = torch.cat([states, back], -1)
        return self.out(states * gate), last

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One position [batch, width] behind the prefix, and the state of the channels that run forward."""
        keep, update, gate = self._elements(x)
        state = keep[:, : self.ahead] * state + update[:, : self.ahead]
        states = torch.cat([state, update[:, self.ahead :]], -1) if self.ahead < update.shape[-1] else state
        return self.out(states * gate), state

    def _elements(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keep, entry, value, gate = self.enter(x).chunk(4, -1)
        return keep.sigmoid(), entry.sigmoid() * value, torch.nn.functional.gelu(gate)


class Layer(torch.nn.Module):
    """x + ssm(norm x): the layer's gates are its feed-forward network as well."""

    def __init__(self, config: Birdie, *, bidirectional: bool) -> None:
        super().__init__()
        self.norm = RMSNorm(config.width)
        self.ssm = GatedSSM(config, bidirectional=bidirectional)


class Network(torch.nn.Module):
    """A `Decoder` (`_decoding.py`) whose prompt is the prefix; one state for every layer."""

    def __init__(self, config: Birdie) -> None:
        super().__init__()
        self.config = config
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.layers = torch.nn.ModuleList(
            Layer(config, bidirectional=bidirectional(i)) for i in range(config.layers)
        )
        self.norm = RMSNorm(config.width)
        self.head = torch.nn.Linear(config.width, config.vocabulary, bias=False)
        initialize(self, config.seed)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """See `whole`."""
        return self.whole(ids)

    def whole(self, ids: torch.Tensor, prefix: int | None = None) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary]; the prefix is as long as the rollout's prompt where None."""
        from edgepack.exporters.architectures.sequence._decoding import PROMPT

        x, _ = self._run(ids, PROMPT if prefix is None else prefix)
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def prefill(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """A prefix, read in both directions."""
        x, states = self._run(ids, ids.shape[1])
        return self.head(self.norm(x[:, -1])), states

    def step(
        self, ids: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """One generated token; where it stands makes no difference."""
        x, after = self.embed(ids), []
        for layer, old in zip(all_of(self.layers), states, strict=True):
            mixed, state = layer.ssm.step(layer.norm(x), old)
            x = x + mixed
            after.append(state)
        return self.head(self.norm(x)), after

    def _run(self, ids: torch.Tensor, prefix: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x, states = self.embed(ids), []
        for layer in all_of(self.layers):
            mixed, state = layer.ssm(layer.norm(x), prefix)
            x = x + mixed
            states.append(state)
        return x, states


def bidirectional(layer: int) -> bool:
    """Every other layer, beginning with the first."""
    return layer % 2 == 0


def state_shapes(config: Birdie) -> dict[str, str]:
    """Specifications of all states, by name and in order."""
    return {
        f"state_{i}": f"{config.inner // 2 if bidirectional(i) else config.inner}"
        for i in range(config.layers)
    }
