"""The network of `canary`: FastConformer encoder, transformer decoder, and the graphs that they ship as."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._conformer import ConformerLayer
from edgepack.exporters.architectures.blocks._each import each
from edgepack.exporters.architectures.blocks._encoder_decoder import pair
from edgepack.exporters.architectures.blocks._layers import Layer, layers
from edgepack.exporters.architectures.blocks._masks import causal
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._relative import distances
from edgepack.exporters.architectures.blocks._subsampling import FACTOR, Subsampling
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.sources.base import TorchModel, TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.speech.canary import Canary

_FRAMES = 7 * FACTOR + 3  # of the example


def positions_table(count: int, width: int) -> torch.Tensor:
    """Positions 0 to count - 1: sines in the first half, cosines in the second, all over sqrt(width).

    The frequencies are those of `blocks._sinusoid`; the order of channels and the scale are the authors'.
    """
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(count)[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], 1) / math.sqrt(width)


def _decoder_layer(width: int, heads: int) -> Layer:
    """Self-attention, cross-attention and a feed-forward network with relu, each after a layer norm; biases."""
    attention, cross = SelfAttention(width, heads, bias=True), CrossAttention(width, heads, bias=True)
    return Layer(width, attention, MLP(width, 4 * width, torch.relu), torch.nn.LayerNorm, cross=cross)


class Network(torch.nn.Module):
    """Everything with parameters; the scores of tokens are products with their embeddings."""

    def __init__(self, config: Canary) -> None:
        super().__init__()
        self.config = config
        self.subsampling = Subsampling(config.mels, config.channels, config.encoder_width)
        self.encoder = torch.nn.ModuleList(
            ConformerLayer(
                config.encoder_width, config.encoder_heads, 4 * config.encoder_width, config.kernel
            )
            for _ in range(config.encoder_layers)
        )
        same = config.encoder_width == config.width
        self.bridge = torch.nn.Identity() if same else torch.nn.Linear(config.encoder_width, config.width)
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.embed_norm = torch.nn.LayerNorm(config.width)
        self.decoder = torch.nn.ModuleList(
            _decoder_layer(config.width, config.heads) for _ in range(config.decoder_layers)
        )
        self.norm = torch.nn.LayerNorm(config.width)
        self.output_bias = torch.nn.Parameter(torch.zeros(config.vocabulary))
        initialize(self, config.seed)
        # Not a parameter: sines and cosines.
        self.register_buffer("table", positions_table(config.positions, config.width), persistent=False)

    def encode(self, mels: torch.Tensor) -> torch.Tensor:
        """[batch, frames, mels] to [batch, frames / 8, width of the decoder]."""
        x = self.subsampling(mels)
        table = distances(x.shape[1], x.shape[1], self.config.encoder_width)
        for layer in each(self.encoder, ConformerLayer):
            x = layer(x, layer.attention.far(table))[0]
        return self.bridge(x)  # type: ignore[no-any-return]

    def memory(self, encoded: torch.Tensor) -> list[torch.Tensor]:
        """Keys and values of every decoder layer's cross-attention, in turn."""
        return [tensor for layer in layers(self.decoder) for tensor in layer.cross.keys_values(encoded)]

    def embedded(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """What the first decoder layer gets, [batch, step, width]."""
        return self.embed_norm(self.embed(ids) + self.get_buffer("table")[positions])  # type: ignore[no-any-return]

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Of the next token."""
        return torch.nn.functional.linear(self.norm(x), self.embed.weight, self.output_bias)

    def forward(self, mels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Scores [batch, tokens, vocabulary] of a complete text, without caches."""
        memory = self.memory(self.encode(mels))
        count = ids.shape[1]
        x = self.embedded(ids, torch.arange(count))
        mask = causal(count)
        for i, layer in enumerate(layers(self.decoder)):
            x = layer(x, None, mask, pair(memory, i))
        return self.scores(x)


class Encoder(torch.nn.Module):
    """The part that reads the spectrogram, once."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, mels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values of every cross-attention, from [batch, frames, mels]."""
        return tuple(self.net.memory(self.net.encode(mels)))


class Decoder(torch.nn.Module):
    """The part that is called for the prompt of task tokens and for every token after it."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, *states: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Scores of the token after the last, [batch, vocabulary], and the caches.

        Args:
            ids: int64 [batch, step].
            positions: int64 [step], of the new tokens.
            slots: int64 [capacity], 0 to capacity - 1.
            states: Cross-attention keys and values of every layer, then the caches of every layer.
        """
        config = self.net.config
        memory, caches = states[: 2 * config.decoder_layers], states[2 * config.decoder_layers :]
        place = next(layers(self.net.decoder)).attention.place(ids.shape[0], positions, slots)
        x = self.net.embedded(ids, positions)
        after: list[torch.Tensor] = []
        for i, layer in enumerate(layers(self.net.decoder)):
            x, cache = layer.cached(x, place, pair(caches, i), pair(memory, i))
            after += cache
        return self.net.scores(x[:, -1]), *after


def build(config: Canary, name: str, steps: int) -> TorchModel:
    """Parts, links and rollout; `steps` of the rollout."""
    net = Network(config).eval()
    caches = [f"{kind}_{i}" for i in range(config.decoder_layers) for kind in ("key", "value")]
    memory = [f"cross_{cache}" for cache in caches]
    head = config.width // config.heads
    shape = f"float32[batch,{config.heads},{{}},{head}]"
    encoder = torch_part(
        Encoder(net), f"mels:float32[batch=2,frames={_FRAMES},{config.mels}]",
        outputs=memory, where=name,
        size_sets=[{"batch": 1, "frames": 5 * FACTOR}, {"batch": 3, "frames": 9 * FACTOR + 1}],
    )  # fmt: skip
    decoder = torch_part(
        Decoder(net), "ids:int64[batch=2,step=2]", "positions:int64[step]", f"slots:int64[capacity={steps}]",
        *(f"{cross}:{shape.format(f'encoded={-(-_FRAMES // FACTOR)}')}" for cross in memory),
        *(f"{cache}:{shape.format('capacity')}" for cache in caches),
        outputs=["scores", *(f"next_{cache}" for cache in caches)],
        where=name, upper={"ids": config.vocabulary}, limits={"capacity": config.positions},
        size_sets=[_sizes(1, 1, 6, 3), _sizes(3, 1, 14, 11), _sizes(1, 4, 4, 5)],
    )  # fmt: skip
    parts = {"encoder": encoder, "decoder": replace(decoder, example=_placed(decoder))}
    links = [StateLink("encoder", cross, "decoder", cross) for cross in memory]
    links += [StateLink("decoder", f"next_{cache}", "decoder", cache) for cache in caches]
    return TorchModel(
        parts, facts(name, net, "automatic-speech-recognition"), links=tuple(links),
        rollout=lambda: rollout(net, memory, steps),
    )  # fmt: skip


def _sizes(batch: int, step: int, capacity: int, encoded: int) -> dict[str, int]:
    return {"batch": batch, "step": step, "capacity": capacity, "encoded": encoded}


def _placed(part: TorchPart) -> Callable[[Mapping[str, int], int], dict[str, np.ndarray]]:
    """Examples whose new positions lie in the middle of the cache."""

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        made = part.example(sizes, seed)
        first = (sizes["capacity"] - sizes["step"]) // 2
        made["positions"] = np.arange(first, first + sizes["step"])
        made["slots"] = np.arange(sizes["capacity"])
        return made

    return example


def rollout(net: Network, names: Sequence[str], steps: int) -> list[Call]:
    """The encoder and single steps, with the scores of the whole text at once.

    Sizes are those of the examples, so that files of fixed shapes can be played too.
    """
    import numpy as np

    rng = np.random.default_rng(7)
    mels = rng.standard_normal((1, _FRAMES, net.config.mels), np.float32)
    ids = rng.integers(0, net.config.vocabulary, (1, steps))
    slots = np.arange(steps)
    with torch.no_grad():
        memory = net.memory(net.encode(torch.from_numpy(mels)))
        whole = net(torch.from_numpy(mels), torch.from_numpy(ids)).numpy()
    crossed = {name: tensor.numpy() for name, tensor in zip(names, memory, strict=True)}
    calls = [Call("encoder", {"mels": mels}, crossed)]
    for t in range(steps):
        inputs = {"ids": ids[:, t : t + 1], "positions": slots[t : t + 1], "slots": slots}
        calls.append(Call("decoder", inputs, {"scores": whole[:, t]}))
    return calls
