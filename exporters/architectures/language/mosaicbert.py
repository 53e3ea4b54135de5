r"""Row 22, MosaicBERT: a BERT with linear biases on scores, gated feed-forward networks, and no padding computed.

    score(i, j) = <q_i, k_j> / sqrt(w) - m_h |i - j|         (no table of positions)
    x -> norm(x + attention(x)),   x -> norm(x + down(gelu(gate x) * up x))

Padding is removed in the runtime: texts of several lengths are laid into rows one after the other
(`edgepack.runtime.packing`), and the graph, told which text each token belongs to, lets no token see another text's.
Since |i - j| does not change when a text is moved within its row, what comes out is what comes out of padded texts,
and what is computed follows the number of real tokens.
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

NAME = "mosaicbert"


@dataclass(frozen=True)
class MosaicBert:
    """Sizes.

    Attributes:
        width: Channels.
        heads: Attention heads.
        hidden: Channels of the gate.
        layers: Of the encoder.
        vocabulary: Tokens, a multiple of 64 in the paper.
        seed: Of the random weights.
    """

    width: int
    heads: int
    hidden: int
    layers: int
    vocabulary: int = 30528
    seed: int = 0


CONFIGS = {
    "base": MosaicBert(768, 12, 3072, 12),
    "large": MosaicBert(1024, 16, 4096, 24),
    "tiny": MosaicBert(36, 3, 48, 2, vocabulary=61),
}

CARD = Card(
    name=NAME,
    system="22",
    paper="MosaicBERT: A Bidirectional Encoder Optimized for Fast Pretraining",
    arxiv="2312.17482",
    says=(
        "abstract: FlashAttention, ALiBi, gated linear units, dynamic removal of padding, low precision LayerNorm",
        "abstract: an average GLUE score of 79.6 after 1.13 hours on 8 A100",
    ),
    parts={"main": "rows of texts, and which text each token belongs to, to scores of every token's word"},
    checks=(
        "against torch on several sizes",
        "texts packed into rows give what they give padded, one a row",
        "packed, multiply-accumulates follow the number of real tokens",
    ),
    assumed=(
        "padding is removed by packing texts into rows, so that shapes stay known; the authors' code gathers tokens",
        "low precision norms are a matter of training on its device, and not of the graph",
        "large has BERT-large's sizes with gated networks; the authors' configurations have none of that size",
    ),
    published=(
        Published(
            "base",
            "the authors' code (mosaicml/examples) with its base configuration holds 137 400 384",
            137_400_384,
        ),
    ),
    structure=(
        "no table of positions; a bias on every score",
        "gated feed-forward networks",
        "texts in one row apart",
    ),
    compared=(
        "the authors' embeddings, encoder and head (mosaicml/examples, bert_layers.py) in plain torch, as they run "
        "where their GPU kernel is missing, same random weights, 40 tokens, padding removed there: logits of real "
        "tokens differ by 6e-7 of up to 2.0 (tiny) and by 2e-6 of up to 14 (base, 12 layers); run by hand"
    ),
)


def _whole(config: MosaicBert) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._mosaicbert import Network

    ids = torch.zeros((1, 128), dtype=torch.int64)
    return Whole(Network(config), (ids, ids, ids))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    missing = not_there(graphs, "main")
    if missing:
        return missing
    graph, tiny = graphs["main"], CONFIGS["tiny"]
    found = too_few(graph, "Softmax", tiny.layers, "attention of every layer")
    found += too_few(graph, "Abs", 1, "distances of a linear bias")
    found += too_few(graph, "Where", 1, "texts in one row apart")
    if operators(graph)["Gather"] + operators(graph)["GatherND"] < 2:  # noqa: PLR2004 - words and sentence types
        found.append("the tables of words and of sentence types are not both there")
    split = operators(graph)["Split"] + operators(graph)["Slice"]
    return found if split >= tiny.layers else [*found, "no gate is split from what it multiplies"]


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: MosaicBert) -> TorchModel:
    """The one part of a configuration."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.language._mosaicbert import Network, texts

    shape = "int64[batch=2,sequence=12]"
    return one_part(
        NAME, Network(config), "fill-mask", f"ids:{shape}", f"text:{shape}", f"types:{shape}",
        outputs=["logits"], upper={"ids": config.vocabulary}, fixed={"text": texts},
    )  # fmt: skip
