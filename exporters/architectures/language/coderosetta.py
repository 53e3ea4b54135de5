r"""Row 106, CodeRosetta: translation between programming languages by two RoBERTa stacks.

Encoder and decoder have a norm after each residual; the decoder's layers attend to the encoder between their other
two functions. The output is RoBERTa's language model head, on the decoder's own token table:

    h' = norm(gelu(W h + b)),   logits = E_decoder h' + c

What makes it CodeRosetta is how it is trained (masked words, syntax tree entities, denoising, back-translation);
the network that ships carries nothing of that. The target language is the first token that the decoder gets.
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

NAME = "coderosetta"


@dataclass(frozen=True)
class Translator:
    """Sizes.

    Attributes:
        width: Channels.
        heads: Attention heads.
        hidden: Channels within the feed-forward network.
        layers: In each stack.
        vocabulary: Tokens; each stack has its table.
        positions: Most positions of an input, and of an output.
        segments: Rows of the table of segments, of which all tokens use the first.
        seed: Of the random weights.
    """

    width: int
    heads: int
    hidden: int
    layers: int
    vocabulary: int = 51416
    positions: int = 1024
    segments: int = 10
    seed: int = 0


CONFIGS = {
    "paper": Translator(1536, 12, 4096, 12),
    "unixcoder-size": Translator(768, 12, 3072, 12),
    "tiny": Translator(32, 4, 64, 2, vocabulary=61, positions=40, segments=2),
}

CARD = Card(
    name=NAME,
    system="106",
    paper="CodeRosetta: Pushing the Boundaries of Unsupervised Code Translation for Parallel Programming",
    arxiv="2410.20527",
    says=(
        "experiments: 12 layers, 12 attention heads, 1,536 channels",
        "abstract: C++ to CUDA 2.9 BLEU better than other systems, and 6.05 % better in compilation",
        "the authors' code: both stacks start from one masked language model of UniXcoder's architecture",
        "the authors' code (train_mlm.py): 4,096 channels within the feed-forward network",
    ),
    parts={
        "encoder": "the source program, once, to the keys and values of every cross-attention and its padding's mask",
        "decoder": "new tokens (the target language's name first) against caches of fixed capacity, to logits",
    },
    checks=(
        "every part against torch on several sizes, single tokens and padded inputs included",
        "single steps, and 33 after a prompt, against the whole sequence at once, in torch without caches",
        "same weights in transformers' EncoderDecoderModel of two RoBERTa: same logits",
    ),
    assumed=(
        "UniXcoder's vocabulary, positions and segments, whose configuration the authors' code starts from",
        "stacks share no weights, as in the authors' code",
    ),
    unpublished="sizes are given, but no count, and a vocabulary that is made in training",
    structure=(
        "the encoder runs once; the decoder reads keys and values that it computed",
        "one attention in an encoder layer, two in a decoder layer",
    ),
    compared=(
        "transformers' EncoderDecoderModel, which the authors' code runs, same random weights: logits within 1e-4 "
        "(test_coderosetta.py)"
    ),
)


def _whole(config: Translator) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._coderosetta import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._encoder_decoder_graphs import lost

    layers = CONFIGS["tiny"].layers
    return lost(graphs, layers, layers)


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Translator) -> TorchModel:
    """Encoder and decoder of a configuration."""
    from edgepack.exporters.architectures import _encoder_decoder_parts as parts
    from edgepack.exporters.architectures.language._coderosetta import Network

    play = parts.Play(config.vocabulary, config.positions, task="text2text-generation", capped=True)
    return parts.build(Network(config), NAME, play)
