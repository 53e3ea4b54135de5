r"""Row 73, BART: a bidirectional encoder and an autoregressive decoder, each layer a residual with its norm after it.

With width d, feed-forward width f, vocabulary V, positions P and L layers in each stack, in parameters:

    layer        4 d^2 + 2 d f + 9 d + f        (biases everywhere, two norms)
    cross        4 d^2 + 6 d                    (with its norm)
    model        V d + 2 (P + 2) d + 4 d + L (2 layer + cross)

The token table is shared by both stacks and by the output; tables of positions and their norms are not.
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

NAME = "bart"


@dataclass(frozen=True)
class Bart:
    """Sizes.

    Attributes:
        width: Channels.
        heads: Attention heads.
        hidden: Channels within the feed-forward network.
        layers: In each stack.
        vocabulary: Tokens.
        positions: Most positions of an input, and of an output.
        seed: Of the random weights.
    """

    width: int
    heads: int
    hidden: int
    layers: int
    vocabulary: int = 50265
    positions: int = 1024
    seed: int = 0


CONFIGS = {
    "base": Bart(768, 12, 3072, 6),
    "large": Bart(1024, 16, 4096, 12),
    "tiny": Bart(32, 4, 64, 2, vocabulary=61, positions=40),
}

CARD = Card(
    name=NAME,
    system="73",
    paper=(
        "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language Generation, Translation, "
        "and Comprehension"
    ),
    arxiv="1910.13461",
    says=(
        "section 2.1: 6 layers in the encoder and the decoder of the base model, 12 in the large one",
        "section 2.1: about 10 % more parameters than the BERT model of equal size",
        "section 2.1: GELU in place of ReLU; no feed-forward network before the output",
    ),
    parts={
        "encoder": "the input, once, to the keys and values of every cross-attention and the mask of its padding",
        "decoder": "new tokens (a prompt or one token) against caches of fixed capacity, to logits",
    },
    checks=(
        "every part against torch on several sizes, single tokens and padded inputs included",
        "single steps, and 33 after a prompt, against the whole sequence at once, in torch without caches",
        "same weights in transformers' BART: same logits",
    ),
    assumed=("the output has no bias: the authors' code has none, other code adds one that is zero",),
    published=(
        Published("base", "the authors' list of models (fairseq, examples/bart/README.md)", parameters=140e6),
        Published(
            "large", "the authors' list of models (fairseq, examples/bart/README.md)", parameters=400e6
        ),
    ),
    structure=(
        "the encoder runs once; the decoder reads keys and values that it computed",
        "one attention in an encoder layer, two in a decoder layer",
    ),
    compared="transformers' BartForConditionalGeneration, same random weights: logits equal within 1e-4 (test_bart.py)",
)


def _whole(config: Bart) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._bart import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._encoder_decoder_graphs import lost

    layers = CONFIGS["tiny"].layers
    return lost(graphs, layers, layers)


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Bart) -> TorchModel:
    """Encoder and decoder of a configuration."""
    from edgepack.exporters.architectures import _encoder_decoder_parts as parts
    from edgepack.exporters.architectures.language._bart import Network

    play = parts.Play(config.vocabulary, config.positions, task="text2text-generation", capped=True)
    return parts.build(Network(config), NAME, play)
