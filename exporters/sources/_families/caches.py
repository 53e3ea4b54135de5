"""Caches as values: built from a graph's inputs, read out as its outputs.

A layer's attention cache is keys and values [batch, heads, past, head_dim]; new tokens are appended to it.
Layers with a sliding window keep the whole sequence too and see their window through the mask, so that all
caches of a model have one length and any number of tokens can be given in a call. A recurrent layer has a
convolution's last inputs [batch, channels, kernel] and a state of fixed shape.

`Layout` finds from one call of the source model which layers hold what. It builds caches of two kinds: the
source's own, for references, and ones without in-place updates and tests on lengths, for graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    DynamicLayer,
    EncoderDecoderCache,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

# transformers' classes as Any: their annotations call lengths and states of half a dozen kinds by one name.
_Attention: Any = DynamicLayer
_Recurrent: Any = LinearAttentionCacheLayerMixin


class GrowingLayer(_Attention):  # type: ignore[misc]
    """Keys and values to which new ones are appended; no branch depends on how many there are."""

    keys: torch.Tensor | None
    values: torch.Tensor | None

    def __init__(self, keys: torch.Tensor | None = None, values: torch.Tensor | None = None) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = keys is not None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys = key_states if self.keys is None else torch.cat([self.keys, key_states], dim=-2)
        self.values = value_states if self.values is None else torch.cat([self.values, value_states], dim=-2)
        self.is_initialized = True
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else self.keys.shape[-2]


class _Recurrence(_Recurrent):  # type: ignore[misc]
    """States of a recurrent layer, replaced and never written into."""

    def lazy_initialization(self, *_: Any, **__: Any) -> None:
        """Nothing to make: states are what was stored last."""

    def update_conv_state(
        self, conv_states: torch.Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> torch.Tensor:
        """Append inputs of the convolution; keeps the last ones.

        Args:
            conv_states: New inputs [batch, channels, length].
            state_idx: Which of the layer's convolutions.
            conv_kernel_size: How many inputs to keep; as many as are given when None.

        Returns:
            All inputs that the convolution needs for the new outputs.
        """
        if self.has_previous_state[state_idx]:
            kept = self.conv_states[state_idx]
            full = torch.cat([kept, conv_states], dim=-1)
            self.conv_states[state_idx] = full[..., -kept.shape[-1] :]
            return full
        if conv_kernel_size is None:
            self.conv_states[state_idx] = conv_states
        else:
            # Zeros before the first input, whatever its length, so that no branch depends on it.
            before = torch.nn.functional.pad(conv_states, (conv_kernel_size, 0))
            self.conv_states[state_idx] = before[..., -conv_kernel_size:]
        self.has_previous_state[state_idx] = True
        return conv_states

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, state_idx: int = 0, **_: Any
    ) -> torch.Tensor:
        """Replace a state."""
        self.recurrent_states[state_idx] = recurrent_states
        return recurrent_states


class RecurrentLayer(_Recurrence):
    """A recurrent layer's states."""


class HybridLayer(_Recurrence, GrowingLayer):
    """A layer with attention and recurrence side by side."""

    def __init__(self, number_of_states: int = 1) -> None:
        GrowingLayer.__init__(self)
        _Recurrent.__init__(self, number_of_states=number_of_states)

    def lazy_initialization(self, *_: Any, **__: Any) -> None:
        """Nothing to make."""


@dataclass(frozen=True)
class State:
    """One tensor of a cache.

    Attributes:
        name: "0.key", "0.value", "1.conv", "1.recurrent": layer, and what it is.
        layer: Which layer.
        kind: "key", "value", "conv" or "recurrent".
        index: Which of several convolutions or states of a layer.
        shape: Without the batch; a growing dimension is None.
    """

    name: str
    layer: int
    kind: str
    index: int
    shape: tuple[int | None, ...]

    def spec(self, prefix: str, batch: str, length: str) -> str:
        """An input specification, such as "past.0.key:float32[batch,4,past,16]"."""
        dims = ",".join([batch, *(length if dim is None else str(dim) for dim in self.shape)])
        return f"{prefix}.{self.name}:float32[{dims}]"


class Layout:
    """Which states the layers of a model hold.

    Args:
        cache: What the source model returned from a call.
        fixed_length: Attention caches do not grow (those of an encoder with outputs of one length).
    """

    def __init__(self, cache: Any, *, fixed_length: bool = False) -> None:
        self.layers = len(cache.layers)
        self.states: list[State] = []
        self._counts: dict[int, int] = {}
        for i, layer in enumerate(cache.layers):
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                self._counts[i] = layer.number_of_states
                for kind, held in (("conv", layer.conv_states), ("recurrent", layer.recurrent_states)):
                    for j, value in held.items():
                        if value is not None:
                            name = f"{i}.{kind}" if layer.number_of_states == 1 else f"{i}.{kind}.{j}"
                            self.states.append(State(name, i, kind, j, tuple(value.shape[1:])))
            for kind, value in (
                ("key", getattr(layer, "keys", None)),
                ("value", getattr(layer, "values", None)),
            ):
                if value is not None and value.numel():
                    heads, length, size = value.shape[1:]
                    shape = (heads, length if fixed_length else None, size)
                    self.states.append(State(f"{i}.{kind}", i, kind, 0, shape))

    @property
    def recurrent(self) -> bool:
        """Whether some layer has a state that new tokens replace."""
        return bool(self._counts)

    @property
    def grows(self) -> bool:
        """Whether some layer has keys and values."""
        return any(state.kind == "key" for state in self.states)

    def names(self, prefix: str) -> list[str]:
        """Names of the states' tensors."""
        return [f"{prefix}.{state.name}" for state in self.states]

    def empty(self, *, traced: bool) -> Any:
        """A cache that nothing was stored in yet.

        Args:
            traced: For a graph; otherwise of the source's own layers.
        """
        return Cache(layers=[self._layer(i, traced=traced) for i in range(self.layers)])

    def filled(self, tensors: Sequence[torch.Tensor], *, traced: bool) -> Any:
        """A cache that holds `tensors`, in the order of `states`."""
        cache = self.empty(traced=traced)
        for state, tensor in zip(self.states, tensors, strict=True):
            layer = cache.layers[state.layer]
            if state.kind in {"key", "value"}:
                _attend(layer, state.kind, tensor)
            else:
                # The source writes into these two: a copy keeps the caller's tensors, and is the value that
                # torch.export then follows.
                held = layer.conv_states if state.kind == "conv" else layer.recurrent_states
                held[state.index] = tensor.clone()
                ready = (
                    layer.is_conv_states_initialized
                    if state.kind == "conv"
                    else layer.is_recurrent_states_initialized
                )
                ready[state.index] = True
                layer.has_previous_state[state.index] = True
                if state.kind == "conv":
                    layer.conv_kernel_size[state.index] = tensor.shape[-1]
        return cache

    def read(self, cache: Any) -> tuple[torch.Tensor, ...]:
        """The tensors of a cache, in the order of `states`."""
        found = []
        for state in self.states:
            layer = cache.layers[state.layer]
            if state.kind in {"key", "value"}:
                found.append(layer.keys if state.kind == "key" else layer.values)
            else:
                held: Mapping[int, torch.Tensor] = (
                    layer.conv_states if state.kind == "conv" else layer.recurrent_states
                )
                found.append(held[state.index])
        return tuple(found)

    def _layer(self, index: int, *, traced: bool) -> Any:
        attends = any(s.layer == index and s.kind == "key" for s in self.states)
        if index not in self._counts:
            return GrowingLayer() if traced else _Attention()
        count = self._counts[index]
        if attends:
            kind = HybridLayer if traced else LinearAttentionAndFullAttentionLayer
            return kind(number_of_states=count)
        return (RecurrentLayer if traced else LinearAttentionLayer)(number_of_states=count)


def _attend(layer: Any, kind: str, tensor: torch.Tensor) -> None:
    setattr(layer, "keys" if kind == "key" else "values", tensor)
    layer.dtype, layer.device, layer.is_initialized = tensor.dtype, tensor.device, True


def encoder_decoder(own: Any, cross: Any, *, ready: bool) -> Any:
    """The two caches of a decoder that attends to an encoder.

    Args:
        own: Of the decoder's attention to itself.
        cross: Of its attention to the encoder.
        ready: `cross` is filled.
    """
    both: Any = EncoderDecoderCache(own, Cache(layers=[]))
    both.cross_attention_cache = cross
    both.is_updated = dict.fromkeys(range(len(cross.layers)), ready)
    return both
