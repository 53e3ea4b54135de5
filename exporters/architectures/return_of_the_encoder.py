"""Row 04, "Return of the Encoder": an encoder-decoder and a decoder-only language model of equal size.

With width d, feed-forward width f and vocabulary V, in parameters (norms d each, embeddings tied):

    layer        4 d^2 + 3 d f + 2 d
    cross layer  8 d^2 + 3 d f + 3 d        (query, keys, values and output of the cross-attention)
    model        V d + layers + d           (and d more for the encoder's norm)

The encoder-decoder has twice as many encoder as decoder layers, in sum as many as the decoder-only model;
what its cross-attention costs is taken from its feed-forward width. A new token then passes a third of the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "return-of-the-encoder"
_PROMPT, _STEPS = 5, 33  # of the rollout


@dataclass(frozen=True)
class LanguageModel:
    """Sizes of one network.

    Attributes:
        vocabulary: Tokens.
        width: Channels.
        heads: Attention heads, each of width / heads channels.
        hidden: Channels within the feed-forward network.
        encoder_layers: 0 for a decoder-only model.
        decoder_layers: At least 1.
        positions: Most positions that a sequence may have.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    heads: int
    hidden: int
    encoder_layers: int
    decoder_layers: int
    positions: int = 4096
    seed: int = 0

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        """By the formula above."""
        d, f = self.width, self.hidden
        plain = 4 * d * d + 3 * d * f + 2 * d
        cross = 4 * d * d + d if self.encoder_layers else 0
        layers = (self.encoder_layers + self.decoder_layers) * plain + self.decoder_layers * cross
        return self.vocabulary * d + layers + d + (d if self.encoder_layers else 0)


CONFIGS = {
    "encoder-decoder-30m": LanguageModel(16384, 384, 6, 984, 8, 4),
    "decoder-only-30m": LanguageModel(16384, 384, 6, 1152, 0, 12),
    "encoder-decoder-120m": LanguageModel(32000, 768, 12, 2088, 8, 4),
    "decoder-only-120m": LanguageModel(32000, 768, 12, 2432, 0, 12),
    "encoder-decoder-tiny": LanguageModel(61, 32, 4, 40, 2, 1, 64),
    "decoder-only-tiny": LanguageModel(61, 32, 4, 56, 0, 3, 64),
}

CARD = Card(
    name=NAME,
    system="04",
    paper="Return of the Encoder: Maximizing Parameter Efficiency for SLMs",
    arxiv="2501.16273",
    says=(
        "abstract: 47 % lower first-token latency than decoder-only models, on edge devices",
        "abstract: 4.7x higher throughput than decoder-only models, on edge devices",
        "abstract: up to 1 billion parameters; one-time input processing; rotary position embeddings",
    ),
    parts={
        "encoder": "encoder-decoder: the input, once, to the keys and values of every cross-attention",
        "decoder": "both: new tokens (a prompt or one token) against caches of fixed capacity, to logits",
    },
    checks=(
        "every part against torch on several sizes, single tokens included",
        f"single steps, and {_STEPS} after a prompt, against the whole sequence at once, in torch without caches",
        "both forms have equal parameter counts within 2 %",
    ),
    assumed=(
        "two thirds of the layers in the encoder (the abstract gives no split)",
        "widths, vocabularies and feed-forward widths: the abstract gives none",
        "weights are random from a fixed seed: they change what is said, not how fast",
    ),
    unpublished='the abstract gives no size but "up to 1B parameters"',
    structure=(
        "the encoder's output is what every cross-attention reads, so that it runs once",
        "no decoder step computes a key or a value of the input again",
    ),
    compared="not run: no public code of the paper's is known",
)


def _whole(config: LanguageModel) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures._return_of_the_encoder_nets import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._encoder_decoder_graphs import lost

    tiny = CONFIGS["encoder-decoder-tiny"]
    return lost(graphs, tiny.encoder_layers, tiny.decoder_layers)


@architecture(CARD, CONFIGS, tiny="encoder-decoder-tiny", whole=_whole, lost=_lost)
def build(config: LanguageModel) -> TorchModel:
    """Parts, links and rollout of a configuration."""
    from edgepack.exporters.architectures import _encoder_decoder_parts as parts
    from edgepack.exporters.architectures._return_of_the_encoder_nets import Network

    play = parts.Play(config.vocabulary, config.positions, _PROMPT, _STEPS)
    return parts.build(Network(config), NAME, play)
