r"""Row 12, UniXcoder: one stack that is an encoder, an encoder-decoder or a decoder, by its attention's mask.

    encoder          all tokens see all:                            0 for real keys
    encoder-decoder  a source sees itself, what follows is causal:  0 for j < p or j <= i
    decoder          causal:                                        0 for j <= i

for a source of p tokens; a prefix token ([<s>, <encoder-only>, </s>] and so on, put there by the tokenizer) tells the
weights which mode it is. The stack is RoBERTa's; what is written is scored by the token table.

One file of weights, three graphs: `encoder` reads for vectors; `context` reads a source in both directions into the
caches; `decoder` goes on from these caches (encoder-decoder), or reads its prompt itself (decoder).
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

NAME = "unixcoder"


@dataclass(frozen=True)
class UniXcoder:
    """Sizes.

    Attributes:
        width: Channels.
        heads: Attention heads.
        hidden: Channels within the feed-forward network.
        layers: Of the one stack.
        vocabulary: Tokens.
        positions: Most tokens of source and target together.
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
    "base": UniXcoder(768, 12, 3072, 12),
    "tiny": UniXcoder(32, 4, 64, 2, vocabulary=61, positions=40, segments=2),
}

CARD = Card(
    name=NAME,
    system="12",
    paper="UniXcoder: Unified Cross-Modal Pre-training for Code Representation",
    arxiv="2203.03850",
    says=(
        "abstract: mask attention matrices with prefix adapters control the behaviour of one model",
        "pre-training settings: 12 layers, 768 channels, 12 attention heads; sequences of up to 1,024 tokens",
    ),
    parts={
        "encoder": "encoder-only mode: tokens to their vectors and, as their mean, the whole's",
        "context": "encoder-decoder mode: the source, in both directions, to logits and caches",
        "decoder": "encoder-decoder mode after `context`, and decoder-only mode from the start: new tokens to logits",
    },
    checks=(
        "every part against torch on several sizes",
        "a context and then single steps against the whole sequence at once under its prefix mask",
        "three graphs share one file of weights",
        "same weights in transformers' RoBERTa under the authors' masks: same vectors and logits",
    ),
    assumed=(
        "vocabulary, positions and segments: those of the authors' published configuration",
        "sources of one batch have one length in `context`; the authors' code decodes one source at a time",
    ),
    unpublished="the paper gives layers, width and heads, and no parameter count",
    structure=(
        "three graphs over one set of weights",
        "the context sees itself in both directions: its mask is not causal, the decoder's is",
        "caches of fixed capacity go from the context to the decoder",
    ),
    compared=(
        "transformers' RobertaModel with the three masks of the authors' unixcoder.py, same random weights: vectors "
        "and logits within 1e-4 (test_unixcoder.py); unixcoder.py itself was not run: it loads its weights from a hub"
    ),
)


def _whole(config: UniXcoder) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._unixcoder import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    missing = not_there(graphs, "encoder", "context", "decoder")
    if missing:
        return missing
    layers = CONFIGS["tiny"].layers
    found = []
    for name, graph in graphs.items():
        found += too_few(graph, "Softmax", layers, f"attention of every layer in '{name}'")
        if name != "encoder":
            found += too_few(graph, "ScatterElements", 2 * layers, f"caches that '{name}' writes")
    given = {str(value.name) for value in graphs["context"].graph.outputs}
    if len(given) != 1 + 2 * layers:
        found.append("the context does not give a key and a value of every layer")
    if operators(graphs["encoder"])["ScatterElements"]:
        found.append("the encoder writes caches that nobody reads")
    return found


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: UniXcoder) -> TorchModel:
    """Three graphs of one set of weights."""
    from edgepack.exporters.architectures.language import _unixcoder_parts

    return _unixcoder_parts.build(config, NAME)
