"""The parts of an encoder-decoder, or of a decoder alone, as an exporter needs them: inputs, links, the rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._encoder_decoder import (
    Decoder,
    DecoderStack,
    Encoder,
    EncoderDecoder,
)
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.sources.base import TorchModel, TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np


_LONGEST = 128  # of an input, and _ROOM of a cache, that a target with fixed sizes is built for
_ROOM = 256


@dataclass(frozen=True)
class Play:
    """What a program's parts are called with.

    Attributes:
        vocabulary: Tokens of the decoder, and of the encoder where it has no other.
        positions: Most positions that the encoder's input may have, and the decoder's cache; at least 38.
        prompt: Tokens of the rollout's first decoder call.
        steps: Single steps after it.
        task: What the model is for.
        source_vocabulary: Tokens of the encoder.
        capped: The decoder's cache has a largest capacity too: there is a table of positions.
    """

    vocabulary: int
    positions: int
    prompt: int = 5
    steps: int = 33
    task: str = "text-generation"
    source_vocabulary: int | None = None
    capped: bool = False

    @property
    def source(self) -> int:
        """Tokens of the encoder's input where sizes are fixed."""
        return min(_LONGEST, self.positions // 4)

    @property
    def capacity(self) -> int:
        """Slots of the decoder's caches where sizes are fixed."""
        return min(_ROOM, self.positions)


def build(net: DecoderStack, name: str, play: Play) -> TorchModel:
    """Parts, links and rollout of a network that has its weights."""
    net = net.eval()
    parts, links = {}, []
    count = len(net.decoder)
    attention = next(layers(net.decoder)).attention
    caches = [f"{kind}_{i}" for i in range(count) for kind in ("key", "value")]
    reader = _reader(net)
    memory = [] if reader is None else [f"cross_{cache}" for cache in caches]
    crossed = [*memory, "cross_mask"] if memory and net.padded else memory
    limits = {"source": play.positions} if memory else {}
    source, capacity = f"source={play.source}", f"capacity={play.capacity}"
    if reader is not None:
        real = ["real:int64[batch,source]"] if net.padded else []
        parts["encoder"] = torch_part(
            Encoder(reader), f"ids:int64[batch=2,{source}]", *real, outputs=crossed, where=name,
            upper={"ids": play.source_vocabulary or play.vocabulary}, fixed={"real": ragged}, limits=limits,
        )  # fmt: skip
        links += [StateLink("encoder", cross, "decoder", cross) for cross in crossed]
    shape = f"{attention.key_heads},{{}},{attention.head_width}"
    decoder = torch_part(
        Decoder(net), "ids:int64[batch=2,step=2]", "positions:int64[step]", f"slots:int64[{capacity}]",
        *(f"{cross}:float32[batch,{shape.format(source)}]" for cross in memory),
        *(f"{mask}:float32[batch,1,1,source]" for mask in crossed[len(memory) :]),
        *(f"{cache}:float32[batch,{shape.format('capacity')}]" for cache in caches),
        outputs=["logits", *(f"next_{cache}" for cache in caches)],
        where=name, upper={"ids": play.vocabulary},
        limits=limits | ({"capacity": play.positions} if play.capped else {}),
        size_sets=[_sizes(memory, 1, 1, 6, 3), _sizes(memory, 3, 1, 14, 11), _sizes(memory, 1, 4, 4, 5)],
    )  # fmt: skip
    parts["decoder"] = replace(decoder, example=placed(decoder))
    links += [StateLink("decoder", f"next_{cache}", "decoder", cache) for cache in caches]
    return TorchModel(
        parts, facts(name, net, play.task), links=tuple(links), rollout=lambda: rollout(net, play)
    )


def _reader(net: DecoderStack) -> EncoderDecoder | None:
    """The same network where it has an encoder."""
    return net if isinstance(net, EncoderDecoder) and len(net.encoder) else None


def ragged(shape: tuple[int, ...]) -> np.ndarray:
    """Which tokens are real, [batch, sequence]: the first row has one padding token, every other one more."""
    import numpy as np

    lengths = np.maximum(shape[1] - 1 - np.arange(shape[0]), 1)
    return (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)


def _sizes(memory: list[str], batch: int, step: int, capacity: int, source: int) -> dict[str, int]:
    sizes = {"batch": batch, "step": step, "capacity": capacity}
    return sizes | {"source": source} if memory else sizes


def placed(part: TorchPart) -> Callable[[Mapping[str, int], int], dict[str, np.ndarray]]:
    """Examples whose new positions lie in the middle of the cache, so that both sides of them are tested."""

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        from edgepack.exporters.architectures.blocks._masks import HIDDEN_SCORE

        made = part.example(sizes, seed)
        first = (sizes["capacity"] - sizes["step"]) // 2
        made["positions"] = np.arange(first, first + sizes["step"])
        made["slots"] = np.arange(sizes["capacity"])
        if "cross_mask" in made:
            real = ragged((sizes["batch"], sizes["source"]))[:, None, None, :]
            made["cross_mask"] = np.where(real == 0, HIDDEN_SCORE, 0.0).astype(np.float32)
        return made

    return example


def rollout(net: DecoderStack, play: Play) -> list[Call]:
    """The encoder, and then `steps`."""
    import numpy as np

    rng = np.random.default_rng(7)
    calls = []
    memory: list[torch.Tensor] = []
    reader = _reader(net)
    if reader is not None:
        source = {"ids": rng.integers(0, play.source_vocabulary or play.vocabulary, (1, play.source))}
        if net.padded:
            source["real"] = ragged((1, play.source))
        with torch.no_grad():
            memory = reader.encode(*(torch.from_numpy(value) for value in source.values()))
        names = [f"cross_{kind}_{i}" for i in range(len(memory) // 2) for kind in ("key", "value")]
        names += ["cross_mask"] if net.padded else []
        outputs = {name: tensor.numpy() for name, tensor in zip(names, memory, strict=True)}
        calls.append(Call("encoder", source, outputs))
    return calls + steps(lambda ids: net.whole(torch.from_numpy(ids), memory), play)


def steps(whole: Callable[[np.ndarray], torch.Tensor], play: Play) -> list[Call]:
    """A decoder's calls: single steps, then from position 0 again a prompt and single steps.

    Of sizes with which files of fixed sizes can be called, too, up to the prompt. What comes out is compared with
    the logits that `whole` gives for the whole sequence at once.
    """
    import numpy as np

    rng = np.random.default_rng(8)
    calls = []
    length = play.prompt + play.steps
    single = [(t, t + 1) for t in range(length)]
    for bounds in (single, [(0, play.prompt), *single[play.prompt :]]):
        ids = rng.integers(0, play.vocabulary, (1, length))
        with torch.no_grad():
            wanted = whole(ids).numpy()
        for begin, end in bounds:
            inputs = {"ids": ids[:, begin:end], "positions": np.arange(begin, end),
                      "slots": np.arange(play.capacity)}  # fmt: skip
            calls.append(Call("decoder", inputs, {"logits": wanted[:, end - 1]}))
    return calls
