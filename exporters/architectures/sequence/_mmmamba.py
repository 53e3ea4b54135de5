"""The network of mmMamba: a transformer whose attention was carved into state-space models, in all layers or most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks import _ssm as ssm
from edgepack.exporters.architectures.blocks._attention import attend
from edgepack.exporters.architectures.blocks._masks import causal, hide
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotate, rotation
from edgepack.exporters.architectures.blocks._short_convolution import ShortConvolution
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.sequence._decoding import filled, written
from edgepack.exporters.architectures.sequence._mixing import MixingLayer, all_of
from edgepack.exporters.architectures.sequence._mmmamba_image import ImageEmbedding, placed

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.mmmamba import MMMamba

States = tuple[torch.Tensor, torch.Tensor]


class Mixer(torch.nn.Module):
    """What both kinds of layers keep of the transformer: queries, keys, values and the way out."""

    def __init__(self, config: MMMamba) -> None:
        super().__init__()
        self.config = config
        self.inner, self.keys = config.heads * config.head_width, config.key_heads * config.head_width
        self.query = torch.nn.Linear(config.width, self.inner, bias=False)
        self.key = torch.nn.Linear(config.width, self.keys, bias=False)
        self.value = torch.nn.Linear(config.width, self.keys, bias=False)
        self.out = torch.nn.Linear(self.inner, config.width, bias=False)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, heads, head width] of [batch, length, heads * head width]."""
        return x.reshape(x.shape[0], x.shape[1], -1, self.config.head_width)


class Attention(Mixer):
    """A layer that stayed what it was: rotary positions and grouped heads."""

    def forward(self, x: torch.Tensor, turn: Rotation, mask: torch.Tensor) -> tuple[torch.Tensor, States]:
        """A whole sequence, and the caches after it."""
        q, k, v = self._rows(x, turn)
        capacity = self.config.positions
        return self.out(attend(q, k, v, mask)), (filled(k, capacity), filled(v, capacity))

    def step(
        self, x: torch.Tensor, turn: Rotation, position: torch.Tensor, states: States
    ) -> tuple[torch.Tensor, States]:
        """One position [batch, 1, width] against the caches."""
        q, k, v = self._rows(x, turn)
        keys, values = written(states[0], k, position), written(states[1], v, position)
        mask = hide(torch.arange(self.config.positions) > position)[None]
        return self.out(attend(q, keys, values, mask)), (keys, values)

    def _rows(self, x: torch.Tensor, turn: Rotation) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = (self._heads(way(x)).transpose(1, 2) for way in (self.query, self.key, self.value))
        return rotate(q, turn), rotate(k, turn), v


class Carved(Mixer):
    """Mamba-2 in the place of attention: queries are ways out, keys ways in, values inputs; new are decay and gate."""

    def __init__(self, config: MMMamba) -> None:
        super().__init__(config)
        self.near = ShortConvolution(2 * self.keys + self.inner, 2)
        # Random queries and keys meet at right angles, and the norm divides by what they read: eight bits would choose
        # its sign. Those of a trained layer point to what they look for.
        self.near.get_parameter("bias").data[self.keys :] = 1.0
        self.size = torch.nn.Linear(config.width, config.heads, bias=False)
        self.size_bias = torch.nn.Parameter(ssm.step_biases(config.heads))
        self.log_rate = torch.nn.Parameter(torch.ones(config.heads))
        self.norm = RMSNorm(config.head_width)
        self.gate = torch.nn.Linear(config.width, self.inner, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, States]:
        """A whole sequence, and the states after it."""
        raw = self._raw(x)
        v, k, q, size = self._ways(self.near(raw), x)
        y, last = ssm.scan(v * size.unsqueeze(-1), size * self.log_rate.exp(), k, q, chunk=self.config.chunk)
        return self._gated(y, x), (self.near.history(raw), last)

    def step(self, x: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
        """One position [batch, 1, width]."""
        mixed, history = self.near.step(self._raw(x)[:, 0], states[0])
        v, k, q, size = (value[:, 0] for value in self._ways(mixed.unsqueeze(1), x))
        y, state = ssm.step(v * size.unsqueeze(-1), size * self.log_rate.exp(), k, q, states[1])
        return self._gated(y.unsqueeze(1), x), (history, state)

    def _raw(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.value(x), self.key(x), self.query(x)], -1)

    def _ways(self, mixed: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Values, keys and queries [batch, length, heads, head width], and step sizes [batch, length, heads]."""
        mixed = torch.nn.functional.silu(mixed)
        v, k, q = mixed[..., : self.keys], mixed[..., self.keys : 2 * self.keys], mixed[..., 2 * self.keys :]
        size = ssm.softplus(self.size(x) + self.size_bias)
        return self._shared(v), self._shared(k), self._heads(q), size

    def _shared(self, x: torch.Tensor) -> torch.Tensor:
        """Every key head in the place of the heads of its group."""
        group = self.config.heads // self.config.key_heads
        heads = self._heads(x)
        # Heads lie side by side, so that a group is its key's channels once for each of its heads.
        return torch.cat([heads] * group, -1).reshape(*heads.shape[:2], -1, self.config.head_width)

    def _gated(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(y) * torch.nn.functional.silu(self._heads(self.gate(x)))
        return self.out(y.flatten(2))  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """A `Decoder` (`_decoding.py`); its states are those of `state_shapes`."""

    def __init__(self, config: MMMamba) -> None:
        super().__init__()
        self.config = config
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.layers = torch.nn.ModuleList(
            MixingLayer(
                config.width, config.hidden, Attention(config) if i in config.attention else Carved(config)
            )
            for i in range(config.layers)
        )
        self.norm = RMSNorm(config.width)
        self.head = torch.nn.Linear(config.width, config.vocabulary, bias=False)
        if config.image:
            self.image = ImageEmbedding(config)
        initialize(self, config.seed)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """See `whole`."""
        return self.whole(ids)

    def whole(self, ids: torch.Tensor, vectors: torch.Tensor | None = None) -> torch.Tensor:
        """All positions at once; `vectors` of images as `_mmmamba_image.placed` has them."""
        return self.head(self.norm(self._run(ids, vectors)[0]))  # type: ignore[no-any-return]

    def prefill(
        self, ids: torch.Tensor, vectors: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """All positions at once, logits of the last one, and the states."""
        x, states = self._run(ids, vectors)
        return self.head(self.norm(x[:, -1])), states

    def step(
        self, ids: torch.Tensor, states: Sequence[torch.Tensor], position: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """One token; the linear form need not know where."""
        x = self.embed(ids).unsqueeze(1)
        turn = None if position is None else rotation(position, self.config.head_width)
        after: list[torch.Tensor] = []
        for i, layer in enumerate(all_of(self.layers)):
            old, y = (states[2 * i], states[2 * i + 1]), layer.norm(x)
            attends = i in self.config.attention
            mixed, new = layer.mixer.step(y, turn, position, old) if attends else layer.mixer.step(y, old)
            x = layer.leave(x, mixed)
            after += new
        return self.head(self.norm(x[:, 0])), after

    def _run(
        self, ids: torch.Tensor, vectors: torch.Tensor | None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x = self.embed(ids)
        if vectors is not None:
            x = placed(x, (ids == self.config.marker).to(x.dtype), vectors)
        turn, mask = rotation(torch.arange(ids.shape[1]), self.config.head_width), causal(ids.shape[1])
        states: list[torch.Tensor] = []
        for i, layer in enumerate(all_of(self.layers)):
            y = layer.norm(x)
            mixed, new = layer.mixer(y, turn, mask) if i in self.config.attention else layer.mixer(y)
            x = layer.leave(x, mixed)
            states += new
        return x, states


def state_shapes(config: MMMamba) -> dict[str, str]:
    """Specifications of all states, by name and in order."""
    shapes: dict[str, str] = {}
    width, channels = config.head_width, (config.heads + 2 * config.key_heads) * config.head_width
    cache = f"{config.key_heads},{config.positions},{width}"
    for i in range(config.layers):
        if i in config.attention:
            shapes |= {f"key_{i}": cache, f"value_{i}": cache}
        else:
            shapes |= {f"near_{i}": f"1,{channels}", f"state_{i}": f"{config.heads},{width},{width}"}
    return shapes
