r"""A transformer of two stacks, an encoder that reads the input once and a decoder that writes against caches.

    encode   ids -> keys and values of every decoder layer's cross-attention
    step     new ids, caches, those keys and values -> logits of the last of them, caches
    whole    a complete sequence at once, without caches: the reference for `step`

An architecture fills the stacks with layers and says how tokens become vectors and vectors scores. A decoder-only
model has the second stack alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from edgepack.exporters.architectures.blocks._attention import Pair
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.architectures.blocks._masks import padding, seen, window
from edgepack.exporters.architectures.blocks._rotary import Rotation


class DecoderStack(torch.nn.Module, ABC):
    """A decoder, alone or behind an encoder; `begin` and `logits` are an architecture's own.

    Attributes:
        decoder: Layers, with cross-attention where there is an encoder.
        padded: Inputs of one batch may differ in length: the encoder is told which tokens are real.
    """

    decoder: torch.nn.ModuleList
    padded: bool = True

    def decoder_windows(self) -> Sequence[int | None]:
        """By layer, how many positions a query sees, itself included (`_masks.seen`); None: all before it."""
        return [None] * len(self.decoder)

    @abstractmethod
    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The decoder's vectors of new tokens [batch, step] at positions [step]."""

    @abstractmethod
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, from the decoder's last layer."""

    def turn(self, positions: torch.Tensor, *, reading: bool = False) -> Rotation | None:
        """Rotary positions of the decoder's heads, or with `reading` the encoder's, where there are any."""
        del positions, reading
        return None

    def whole(self, ids: torch.Tensor, memory: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary] of a complete sequence, without caches; `memory` as `encode` has it."""
        position = torch.arange(ids.shape[1])
        x = self.begin(ids, position)
        turn = self.turn(position)
        hidden = memory[-1] if len(memory) % 2 else None
        for i, (layer, size) in enumerate(zip(layers(self.decoder), self.decoder_windows(), strict=True)):
            x = layer(x, turn, seen(position, position, size), pair(memory, i) if memory else None, hidden)
        return self.logits(x)

    def step(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        memory: Sequence[torch.Tensor],
        caches: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits of the last token [batch, vocabulary], and the caches.

        Args:
            ids: int64 [batch, step].
            positions: int64 [step].
            slots: int64 [capacity]: 0, 1, ...
            memory: As `encode` has it; empty without an encoder.
            caches: Keys and values of every layer, in turn, [batch, key heads, capacity, width of a head].
        """
        first = next(layers(self.decoder)).attention
        place = first.place(ids.shape[0], positions, slots, self.turn(positions))
        masks: dict[int | None, torch.Tensor] = {None: place.mask}
        hidden = memory[-1] if len(memory) % 2 else None
        x = self.begin(ids, positions)
        after: list[torch.Tensor] = []
        for i, (layer, size) in enumerate(zip(layers(self.decoder), self.decoder_windows(), strict=True)):
            if size not in masks:
                masks[size] = seen(positions, slots, size)
            here = place._replace(mask=masks[size])
            x, cache = layer.cached(x, here, pair(caches, i), pair(memory, i) if memory else None, hidden)
            after += cache
        # Only the last position chooses a token: a prompt's other rows of logits would be thrown away.
        return self.logits(x[:, -1]), after


class EncoderDecoder(DecoderStack):
    """Two stacks; `read`, `begin` and `logits` are an architecture's own.

    Attributes:
        encoder: Layers; none in a model that is built both ways, where it is decoder-only.
    """

    encoder: torch.nn.ModuleList

    def encoder_windows(self) -> Sequence[int | None]:
        """By layer, how near keys must be to be seen (`_masks.window`); None: all are seen."""
        return [None] * len(self.encoder)

    @abstractmethod
    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """The encoder's vectors of the input, int64 [batch, sequence]."""

    def encoded(self, x: torch.Tensor) -> torch.Tensor:
        """The encoder's output, from its last layer."""
        return x

    def states(self, ids: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """The encoder's output [batch, sequence, width].

        Args:
            ids: int64 [batch, sequence].
            real: As `ids`: 1 for a token, 0 for padding; all are tokens where None.
        """
        x = self.read(ids)
        turn = self.turn(torch.arange(ids.shape[1]), reading=True)
        hidden = None if real is None else padding(real)
        near: dict[int, torch.Tensor] = {}
        for layer, size in zip(layers(self.encoder), self.encoder_windows(), strict=True):
            mask = hidden
            if size is not None:
                if size not in near:
                    near[size] = window(ids.shape[1], size)
                mask = near[size] if hidden is None else hidden + near[size]
            x = layer(x, turn, mask)
        return self.encoded(x)

    def encode(self, ids: torch.Tensor, real: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Keys and values of every decoder layer's cross-attention, in turn; then, with `real`, their mask."""
        encoded = self.states(ids, real)
        memory = [tensor for layer in layers(self.decoder) for tensor in layer.cross.keys_values(encoded)]
        return memory if real is None else [*memory, padding(real)]


class Encoder(torch.nn.Module):
    """The part that reads the input, once: `forward(ids)`, or `forward(ids, real)`, as `EncoderDecoder.encode`."""

    def __init__(self, net: EncoderDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, real: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Keys, values, and their mask."""
        return tuple(self.net.encode(ids, real))


class Decoder(torch.nn.Module):
    """The part that is called for a prompt and for every token: `forward(ids, positions, slots, *states)`.

    The states are what the encoder gave, then the caches (see `EncoderDecoder.step`).
    """

    def __init__(self, net: DecoderStack) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, *states: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits and caches."""
        crossed = len(states) - 2 * len(self.net.decoder)
        logits, caches = self.net.step(ids, positions, slots, states[:crossed], states[crossed:])
        return logits, *caches


def pair(tensors: Sequence[torch.Tensor], index: int) -> Pair:
    """The `index`-th keys and values of a sequence that has them in turn."""
    return tensors[2 * index], tensors[2 * index + 1]
