"""Encoder-decoders: the input once (encoder), then steps of the decoder with two kinds of caches.

    encoder: the model's inputs -> cross.*, keys and values of the decoder's attention to the input
    decoder: input_ids [batch, step], encoder_attention_mask [batch, source] where the input has a mask,
             cross.*, past.* -> logits [batch, step, vocabulary], present.*

The products of the encoder's states with the decoder's key and value matrices are computed once, so the
decoder never sees the states. They are read from the cache that the source itself fills when it decodes
one token; all else of that token is dead code in the graph. The decoder starts with empty caches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.sources._families import experts
from edgepack.exporters.sources._families.caches import Layout, encoder_decoder
from edgepack.exporters.sources._families.causal_lm import STEPS, rewritten
from edgepack.exporters.sources._families.inputs import Inputs, describe
from edgepack.exporters.sources._families.loading import normalized
from edgepack.exporters.sources.base import TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

MASK = "encoder_attention_mask"


class EncoderDecoder:
    """A model with what its parts need to know of it.

    Args:
        model: A transformers encoder-decoder with a language-modelling head, in eval mode.
        where: Its folder, for messages.
    """

    def __init__(self, model: Any, where: str) -> None:
        self.model = model
        self.where = where
        self.inputs: Inputs = describe(model, where)
        self.names = [spec.name for spec in self.inputs.signature.inputs]
        config = model.config.get_text_config(decoder=True)
        self.vocabulary = int(normalized(config, "vocab_size"))
        self.limit = _positions(config)
        start = getattr(model.config, "decoder_start_token_id", None)
        start = start if start is not None else getattr(config, "decoder_start_token_id", None)
        self.start = int(start) if start is not None else int(getattr(config, "bos_token_id", None) or 0)
        small = self._source(self.inputs.sizes, 0)
        longer = {name: size + (name != "batch") * 64 for name, size in self.inputs.sizes.items()}
        longer = {name: min(size, self.inputs.limits.get(name, size)) for name, size in longer.items()}
        with torch.no_grad():
            first, other = self._probe(small), self._probe(self._source(longer, 0))
        lengths = [both.cross_attention_cache.layers[0].keys.shape[2] for both, _ in (first, other)]
        self.fixed = lengths[0] == lengths[1]
        self.masked = "attention_mask" in self.names
        both, states = first
        self.source_length, self.width = states.shape[1:]
        # The encoder's length: that of its input where they agree, a number, or a name of its own.
        main = self.inputs.length
        self.length = main if main and lengths[0] == self.inputs.sizes.get(main) else "source"
        self.own = Layout(both.self_attention_cache)
        self.cross = Layout(both.cross_attention_cache, fixed_length=self.fixed)

    def _source(self, sizes: dict[str, int], seed: int) -> dict[str, torch.Tensor]:
        return {k: torch.from_numpy(v) for k, v in self.inputs.example(sizes, seed).items()}

    def _probe(self, source: dict[str, torch.Tensor]) -> tuple[Any, torch.Tensor]:
        ids = torch.full((next(iter(source.values())).shape[0], 1), self.start)
        result = self.model(**source, decoder_input_ids=ids, use_cache=True)
        return result.past_key_values, result.encoder_last_hidden_state

    def encode(self, source: tuple[torch.Tensor, ...], own: Any, cross: Any) -> None:
        """Fill `cross` by decoding one token."""
        ids = torch.full((source[0].shape[0], 1), self.start)
        both = encoder_decoder(own, cross, ready=False)
        self.model(
            **dict(zip(self.names, source, strict=True)),
            decoder_input_ids=ids, past_key_values=both, use_cache=True,
        )  # fmt: skip

    def decode(self, ids: torch.Tensor, mask: torch.Tensor | None, own: Any, cross: Any) -> torch.Tensor:
        """Logits of new tokens; `own` is updated."""
        from transformers.modeling_outputs import BaseModelOutput

        length = cross.layers[0].keys.shape[2]
        # Its values go nowhere: keys and values are in the cache. Its shape is asked for.
        states = ids.new_zeros((1, 1, 1), dtype=torch.float32).expand(ids.shape[0], length, self.width)
        options = {} if mask is None else {"attention_mask": mask}
        both = encoder_decoder(own, cross, ready=True)
        encoded: Any = BaseModelOutput(last_hidden_state=states)
        # Some encoders shorten the mask too and hand it to the decoder beside their states.
        encoded.attention_mask = mask
        logits: torch.Tensor = self.model(
            encoder_outputs=encoded,
            decoder_input_ids=ids, past_key_values=both, use_cache=True, **options,
        ).logits  # fmt: skip
        return logits


class Encoder(torch.nn.Module):
    """The input; `traced` is False in the reference."""

    def __init__(self, both: EncoderDecoder, *, traced: bool) -> None:
        super().__init__()
        self.model = both.model
        self.both = both
        self.traced = traced

    def forward(self, *source: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values for the decoder's attention to the input."""
        own, cross = (layout.empty(traced=self.traced) for layout in (self.both.own, self.both.cross))
        with rewritten(self.model, experts.DENSE, on=self.traced):
            self.both.encode(source, own, cross)
        return self.both.cross.read(cross)


class Decoder(torch.nn.Module):
    """A step of one or more tokens; `traced` is False in the reference."""

    def __init__(self, both: EncoderDecoder, *, traced: bool) -> None:
        super().__init__()
        self.model = both.model
        self.both = both
        self.traced = traced

    def forward(self, input_ids: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of every token given, and the decoder's caches with these tokens."""
        mask, states = (rest[0], rest[1:]) if self.both.masked else (None, rest)
        count = len(self.both.cross.states)
        cross = self.both.cross.filled(states[:count], traced=self.traced)
        own = self.both.own.filled(states[count:], traced=self.traced)
        with rewritten(self.model, experts.GATHERED, on=self.traced):
            logits = self.both.decode(input_ids, mask, own, cross)
        return logits, *self.both.own.read(own)


def parts(
    model: Any, where: str
) -> tuple[dict[str, TorchPart], tuple[StateLink, ...], Callable[[], list[Call]]]:
    """Encoder and decoder of a model, their links, and the rollout that verifies them together.

    Args:
        model: A transformers encoder-decoder with a language-modelling head, in eval mode.
        where: Its folder, for messages.
    """
    both = EncoderDecoder(model, where)
    cross, past, present = both.cross.names("cross"), both.own.names("past"), both.own.names("present")
    links = [StateLink("encoder", name, "decoder", name) for name in cross]
    links += [StateLink("decoder", out, "decoder", into) for out, into in zip(present, past, strict=True)]
    encoder = TorchPart(
        Encoder(both, traced=True).eval(), both.inputs.signature, both.inputs.example, where,
        Encoder(both, traced=False).eval(), both.inputs.sizes, both.inputs.limits, tuple(cross),
    )  # fmt: skip
    return {"encoder": encoder, "decoder": _decoder(both, present)}, tuple(links), lambda: rollout(both)


def _decoder(both: EncoderDecoder, present: list[str]) -> TorchPart:
    specs = ["input_ids:int64[batch=2,step=2]"]
    size = f"{both.length}={max(both.source_length, 4)}"
    if both.masked:
        specs.append(f"{MASK}:int64[batch,{size}]")
    specs += [state.spec("cross", "batch", size) for state in both.cross.states]
    specs += [state.spec("past", "batch", "past=5") for state in both.own.states]
    sets = [
        {"batch": 1, "past": 0, "step": 1},
        {"batch": 3, "past": 9, "step": 1},
        {"batch": 2, "past": 0, "step": 4},
    ]
    if not both.fixed:
        sets = [{**sizes, both.length: length} for sizes, length in zip(sets, (9, 3, 12), strict=True)]
    return torch_part(
        Decoder(both, traced=True),
        *specs,
        outputs=["logits", *present],
        where=both.where,
        upper={"input_ids": both.vocabulary},
        fixed={MASK: _right_padded},
        limits={"past": both.limit - 1} if both.limit else {},
        size_sets=sets,
        reference=Decoder(both, traced=False),
    )


def _right_padded(shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    missing = np.arange(shape[0]) % (1 + shape[1] // 3)
    return (np.arange(shape[1])[None, :] < (shape[1] - missing)[:, None]).astype(np.int64)


def _positions(config: Any) -> int | None:
    for name in ("max_target_positions", "max_position_embeddings"):
        if value := getattr(config, name, None):
            return int(value)
    return None


def rollout(both: EncoderDecoder) -> list[Call]:
    """The input, then single steps from the start token, with the logits of the whole output at once."""
    import numpy as np

    source = both.inputs.example(both.inputs.sizes, 3)
    batch = next(iter(source.values())).shape[0]
    steps = min(STEPS + 1, both.limit or STEPS + 1)
    ids = np.random.default_rng(3).integers(0, both.vocabulary, (batch, steps))
    ids[:, 0] = both.start
    options: dict[str, Any] = {"use_cache": False}
    if "decoder_attention_mask" in inspect.signature(both.model.forward).parameters:
        # Without one some families take the padding token among the new tokens for padding.
        options["decoder_attention_mask"] = torch.ones(ids.shape, dtype=torch.int64)
    with torch.no_grad():
        whole = both.model(
            **{k: torch.from_numpy(v.copy()) for k, v in source.items()},
            decoder_input_ids=torch.from_numpy(ids), **options,
        ).logits.numpy()  # fmt: skip
    calls = [Call("encoder", source, {})]
    for t in range(steps):
        inputs = {"input_ids": ids[:, t : t + 1]}
        if both.masked:
            inputs[MASK] = source["attention_mask"]
        calls.append(Call("decoder", inputs, {"logits": whole[:, t : t + 1]}))
    return calls
