r"""Row 15, Encoder-Decoder Gemma (T5Gemma): two Gemma 2 models, one made an encoder, the other given cross-attention.

A layer, with norms n before and after each of its functions (n(x) = x / rms(x) (1 + g)):

    x + n(attention(n x)),   x + n(cross(n x)) in the decoder,   x + n(down(gelu(gate n x) * up n x))

Attention has rotary positions, a key head for a group of query heads, scores bounded to 50 tanh(score / 50), and in
every other layer a window. The stacks are independent: a 9B encoder feeds a 2B decoder through the projections of
the decoder's cross-attention, from the encoder's width. Embeddings are scaled by sqrt(width), logits bounded to 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "t5gemma"


@dataclass(frozen=True)
class Stack:
    """Sizes of one stack.

    Attributes:
        width: Channels.
        layers: In it.
        heads: Of queries.
        key_heads: Of keys and values.
        head_width: Channels of a head.
        hidden: Channels within the feed-forward network.
    """

    width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    hidden: int


@dataclass(frozen=True)
class T5Gemma:
    """Sizes of both.

    Attributes:
        encoder: See there.
        decoder: See there.
        vocabulary: Tokens; each stack has its table.
        window: Of every other layer, the first one included.
        positions: Most positions of an input.
        seed: Of the random weights.
    """

    encoder: Stack
    decoder: Stack
    vocabulary: int = 256000
    window: int = 4096
    positions: int = 8192
    seed: int = 0


_2B, _9B = Stack(2304, 26, 8, 4, 256, 9216), Stack(3584, 42, 16, 8, 256, 14336)
CONFIGS = {
    "2b-2b": T5Gemma(_2B, _2B),
    "9b-2b": T5Gemma(_9B, _2B),
    "9b-9b": T5Gemma(_9B, _9B),
    "tiny": T5Gemma(
        Stack(48, 3, 4, 2, 12, 64), Stack(32, 2, 4, 2, 8, 48), vocabulary=61, window=4, positions=40
    ),
}
_CROSS_2B = 26 * (2 * 2304 * 2048 + 2 * 2304 * 1024 + 2 * 2304)
_CROSS_9B_2B = 26 * (2 * 2304 * 2048 + 2 * 3584 * 1024 + 2 * 2304)
_CROSS_9B = 42 * (2 * 3584 * 4096 + 2 * 3584 * 2048 + 2 * 3584)
_LAYERS_2B, _LAYERS_9B = 2_024_517_888, 8_324_201_984
_GEMMA_2B, _GEMMA_9B = 590_118_912 + _LAYERS_2B, 917_962_752 + _LAYERS_9B
_SOURCE = "Gemma 2 report (arXiv:2408.00118), table 2, for both stacks; cross-attention added by its shapes"

CARD = Card(
    name=NAME,
    system="15",
    paper="Encoder-Decoder Gemma: Improving the Quality-Efficiency Trade-Off via Adaptation",
    arxiv="2504.06225",
    says=(
        "abstract: decoder-only models adapted to encoder-decoder ones, of unequal sizes too (9B-2B)",
        "abstract: 2B-2B is about 7 % better than Gemma 2 2B after instruction tuning at similar inference cost",
        "abstract: 9B-2B is more than 3 % better than 2B-2B",
    ),
    parts={
        "encoder": "the input, once, to the keys and values of every cross-attention and the mask of its padding",
        "decoder": "new tokens (a prompt or one token) against caches of fixed capacity, to logits",
    },
    checks=(
        "every part against torch on several sizes, single tokens and padded inputs included",
        "single steps, and 33 after a prompt, against the whole sequence at once, in torch without caches",
        "same weights in transformers' T5Gemma: same logits, stacks of unequal size and windows included",
    ),
    assumed=(
        "an encoder's window of w positions shows w to either side, as in transformers' T5Gemma",
        "all caches have the full capacity, those of layers with a window too",
    ),
    published=(
        Published("2b-2b", _SOURCE, parameters=2 * _GEMMA_2B + _CROSS_2B),
        Published("9b-2b", _SOURCE, parameters=_GEMMA_9B + _GEMMA_2B + _CROSS_9B_2B),
        Published("9b-9b", _SOURCE, parameters=2 * _GEMMA_9B + _CROSS_9B),
    ),
    structure=(
        "the encoder runs once; the decoder reads keys and values that it computed",
        "encoder and decoder have sizes of their own",
        "one cache for every group of query heads",
    ),
    compared="transformers' T5GemmaForConditionalGeneration, same random weights: logits within 1e-4 (test_t5gemma.py)",
)


def _whole(config: T5Gemma) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._t5gemma import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._encoder_decoder_graphs import lost
    from edgepack.exporters.architectures._graphs import too_few, unshaped

    tiny = CONFIGS["tiny"]
    found = lost(graphs, tiny.encoder.layers, tiny.decoder.layers)
    if "decoder" in graphs:
        cache = ("batch", tiny.decoder.key_heads, "capacity", tiny.decoder.head_width)
        found += unshaped(graphs["decoder"], key_0=cache)
        found += too_few(graphs["decoder"], "Tanh", 2 * tiny.decoder.layers + 1, "bounded scores and logits")
    return found


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: T5Gemma) -> TorchModel:
    """Encoder and decoder of a configuration."""
    from edgepack.exporters.architectures import _encoder_decoder_parts as parts
    from edgepack.exporters.architectures.language._t5gemma import Network

    play = parts.Play(config.vocabulary, config.positions, task="text2text-generation")
    return parts.build(Network(config), NAME, play)
