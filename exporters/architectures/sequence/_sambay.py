"""The network of SambaY: a self-decoder of Mamba and windows, one full attention, a cross-decoder that reads both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.architectures.blocks._attention import attend
from edgepack.exporters.architectures.blocks._masks import causal, hide
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._selective import SelectiveMixer
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.sequence._decoding import filled, written
from edgepack.exporters.architectures.sequence._mixing import MixingLayer, all_of

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.sambay import SambaY

Pair = tuple[torch.Tensor, torch.Tensor]


class Attention(torch.nn.Module):
    """Grouped heads without positions; the cross-decoder's have queries only."""

    def __init__(self, config: SambaY, *, own: bool = True) -> None:
        super().__init__()
        self.config = config
        inner, keys = config.heads * config.head_width, config.key_heads * config.head_width
        self.query = torch.nn.Linear(config.width, inner, bias=False)
        if own:
            self.memory = torch.nn.Linear(config.width, 2 * keys, bias=False)
        self.out = torch.nn.Linear(inner, config.width, bias=False)

    def rows(self, x: torch.Tensor) -> Pair:
        """Keys and values [batch, key heads, length, head width] of [batch, length, width]."""
        keys, values = self.memory(x).chunk(2, -1)
        return self._heads(keys), self._heads(values)

    def over(self, x: torch.Tensor, memory: Pair, mask: torch.Tensor | None) -> torch.Tensor:
        """Queries of [batch, length, width] over keys and values."""
        return self.out(attend(self._heads(self.query(x)), *memory, mask))  # type: ignore[no-any-return]

    def windows(self, x: torch.Tensor) -> tuple[torch.Tensor, Pair]:
        """A whole sequence, every position over the `window` last ones; linear in length. And the last rows.

        Cut into blocks of a window, a block's queries see their own block and the one before it.
        """
        batch, length, _ = x.shape
        size = self.config.window
        count = (length + size - 1) // size
        padded = torch.nn.functional.pad(x, (0, 0, 0, count * size - length))
        q = self._heads(self.query(padded).reshape(batch * count, size, -1))
        memory = self.memory(padded)
        before = torch.nn.functional.pad(memory, (0, 0, size, 0))[:, : count * size]
        both = torch.cat([value.reshape(batch * count, size, -1) for value in (before, memory)], 1)
        keys, values = (self._heads(part) for part in both.chunk(2, -1))
        distance = torch.arange(size)[:, None] + size - torch.arange(2 * size)
        missing = (torch.arange(count) == 0)[:, None, None] & (torch.arange(2 * size) < size)
        hidden = (distance < 0) | (distance >= size) | missing
        mask = hide(hidden)[None].expand(batch, -1, -1, -1).reshape(batch * count, 1, size, 2 * size)
        y = self.out(attend(q, keys, values, mask)).reshape(batch, count * size, -1)[:, :length]
        rows = torch.nn.functional.pad(memory[:, :length], (0, 0, size, 0))[:, -size:].chunk(2, -1)
        return y, (self._heads(rows[0]), self._heads(rows[1]))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], x.shape[1], -1, self.config.head_width).transpose(1, 2)


class MemoryUnit(torch.nn.Module):
    """Gated Memory Unit: out(silu(in x) * m), m the readout of the self-decoder's last state-space model."""

    def __init__(self, config: SambaY) -> None:
        super().__init__()
        self.enter = torch.nn.Linear(config.width, 2 * config.width, bias=False)
        self.out = torch.nn.Linear(2 * config.width, config.width, bias=False)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """[batch, length, width] in and out."""
        return self.out(torch.nn.functional.silu(self.enter(x)) * memory)  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """A `Decoder` (`_decoding.py`); its states are those of `state_shapes`."""

    def __init__(self, config: SambaY) -> None:
        super().__init__()
        self.config = config
        half = config.layers // 2
        mixers: list[torch.nn.Module] = []
        for i in range(config.layers):
            if i <= half:
                mamba = SelectiveMixer(config.width, config.states, config.positions)
                mixers.append(Attention(config) if i % 2 else mamba)
            elif i == half + 1:
                mixers.append(Attention(config))
            else:
                mixers.append(Attention(config, own=False) if i % 2 else MemoryUnit(config))
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.layers = torch.nn.ModuleList(MixingLayer(config.width, config.hidden, mixer) for mixer in mixers)
        self.norm = RMSNorm(config.width)
        self.head = torch.nn.Linear(config.width, config.vocabulary, bias=False)
        initialize(self, config.seed)
        if not self.embed.weight.is_meta:
            _slow_rates(self)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """See `whole`."""
        return self.whole(ids)

    def whole(self, ids: torch.Tensor) -> torch.Tensor:
        """Every layer at every position."""
        x, readout, _ = self._self_decoder(self.embed(ids))
        x = self._cross_decoder(x, readout, causal(ids.shape[1]), None)[0]
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def prefill(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The self-decoder at every position; of the rest keys and values, and all else at the last one only."""
        x, readout, states = self._self_decoder(self.embed(ids))
        full = self._full
        memory = full.mixer.rows(full.norm(x))
        caches = tuple(filled(rows, self.config.positions) for rows in memory)
        x = self._cross_decoder(x[:, -1:], readout[:, -1:], None, memory)[0]
        return self.head(self.norm(x[:, 0])), [*states, *caches]

    def step(
        self, ids: torch.Tensor, states: Sequence[torch.Tensor], position: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """One token through all layers, against states of constant size and the one cache."""
        config = self.config
        x = readout = self.embed(ids).unsqueeze(1)
        after: list[torch.Tensor] = []
        in_window = hide(torch.arange(config.window) < config.window - 1 - position)
        for i, layer in enumerate(all_of(self.layers)[: config.layers // 2 + 1]):
            old = (states[2 * i], states[2 * i + 1])
            y = layer.norm(x)
            if i % 2:
                rows = zip(old, layer.mixer.rows(y), strict=True)
                new = tuple(torch.cat([cache[:, :, 1:], row], 2) for cache, row in rows)
                mixed = layer.mixer.over(y, new, in_window[None])
            else:
                mixed, readout, new = layer.mixer.step(y[:, 0], old)
                mixed, readout = mixed.unsqueeze(1), readout.unsqueeze(1)
            x = layer.leave(x, mixed)
            after += new
        rows = zip(states[-2:], self._full.mixer.rows(self._full.norm(x)), strict=True)
        caches = tuple(written(cache, row, position) for cache, row in rows)
        x = self._cross_decoder(x, readout, hide(torch.arange(config.positions) > position)[None], caches)[0]
        return self.head(self.norm(x[:, 0])), [*after, *caches]

    @property
    def _full(self) -> Any:
        return self.layers[self.config.layers // 2 + 1]

    def _self_decoder(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """All positions: the output, the last readout, and all states."""
        states: list[torch.Tensor] = []
        readout = x
        for i, layer in enumerate(all_of(self.layers)[: self.config.layers // 2 + 1]):
            if i % 2:
                mixed, after = layer.mixer.windows(layer.norm(x))
            else:
                mixed, readout, after = layer.mixer(layer.norm(x))
            x = layer.leave(x, mixed)
            states += after
        return x, readout, states

    def _cross_decoder(
        self,
        x: torch.Tensor,
        readout: torch.Tensor,
        mask: torch.Tensor | None,
        memory: Any,
    ) -> tuple[torch.Tensor, Any]:
        """The full attention, then what reads its keys and values, or the readout, in turn."""
        for i, layer in enumerate(all_of(self.layers)[self.config.layers // 2 + 1 :]):
            y = layer.norm(x)
            if i == 0 and memory is None:
                memory = layer.mixer.rows(y)
            mixed = layer.mixer(y, readout) if i % 2 else layer.mixer.over(y, memory, mask)
            x = layer.leave(x, mixed)
        return x, memory


def _slow_rates(net: torch.nn.Module) -> None:
    """Rates as Mamba has them, 1 ... states, which `initialize` has drawn anew."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, SelectiveMixer):
                module.log_rate.copy_(torch.arange(1.0, module.states + 1).log().expand_as(module.log_rate))


def state_shapes(config: SambaY) -> dict[str, str]:
    """Specifications of all states, by name and in order."""
    shapes: dict[str, str] = {}
    window = f"{config.key_heads},{config.window},{config.head_width}"
    for i in range(config.layers // 2 + 1):
        if i % 2:
            shapes |= {f"window_key_{i}": window, f"window_value_{i}": window}
        else:
            shapes |= {
                f"near_{i}": f"3,{2 * config.width}",
                f"state_{i}": f"{2 * config.width},{config.states}",
            }
    full = f"{config.key_heads},{config.positions},{config.head_width}"
    return shapes | {"key": full, "value": full}
