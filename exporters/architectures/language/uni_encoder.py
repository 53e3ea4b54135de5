r"""Row 64, Uni-Encoder: all candidate answers to a context are scored in one pass that encodes the context once.

    [ context | candidate 1 | candidate 2 | ... ]     positions  0 .. c-1 | c, c+1, .. | c, c+1, .. | ...

Every candidate starts at the position after the context, and sees the context and itself, never another candidate.
A candidate's score is a product with the mean of its tokens' vectors. Whether the context sees the candidates too is
the attention's kind: "arrow", the paper's own, in which it does; "apart", in which it does not, so that every
candidate gets exactly the score that it gets alone. With one candidate an arrow is a Cross-Encoder.
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

NAME = "uni-encoder"


@dataclass(frozen=True)
class Scorer:
    """Sizes.

    Attributes:
        width: Channels.
        heads: Attention heads.
        hidden: Channels within the feed-forward network.
        layers: Of the encoder.
        vocabulary: Tokens.
        positions: Most tokens of a context and one candidate together.
        attention: "arrow" or "apart".
        context: Tokens of a context, of the sizes that are counted.
        candidates: How many, of the sizes that are counted.
        answer: Tokens of a candidate, of the sizes that are counted.
        seed: Of the random weights.
    """

    width: int
    heads: int
    hidden: int
    layers: int
    vocabulary: int = 30522
    positions: int = 512
    attention: str = "arrow"
    context: int = 384
    candidates: int = 10
    answer: int = 32
    seed: int = 0


CONFIGS = {
    "base": Scorer(768, 12, 3072, 12),
    "base-apart": Scorer(768, 12, 3072, 12, attention="apart"),
    "tiny": Scorer(32, 4, 64, 2, vocabulary=61, positions=32, context=12, candidates=3, answer=4),
    "tiny-apart": Scorer(
        32, 4, 64, 2, vocabulary=61, positions=32, attention="apart", context=12, candidates=3, answer=4
    ),
}

CARD = Card(
    name=NAME,
    system="64",
    paper=(
        "Uni-Encoder: A Fast and Accurate Response Selection Paradigm for Generation-Based Dialogue Systems"
    ),
    arxiv="2106.01263",
    says=(
        "abstract: full attention over each pair as in a Cross-Encoder, while the context is encoded once",
        "abstract: about 4 times faster inference on Ubuntu V2, R10@1 2.9 % better",
        "abstract: the same position embedding for all candidates",
    ),
    parts={"main": "a context and its candidates to one score a candidate"},
    checks=(
        "against torch on several numbers and lengths of contexts and candidates",
        "apart: equal to scoring each candidate alone; an arrow with one candidate: equal to a Cross-Encoder",
        "candidates in another order have the same scores",
        "same weights in transformers' BERT under the authors' arrow mask: same scores",
    ),
    assumed=(
        "BERT-base, uncased: the authors' code starts from it",
        "context and candidates are inputs of their own, padded, in place of one row with borders",
    ),
    unpublished="the paper gives no parameter or operation counts of its own; its networks are BERT-base",
    structure=(
        "the context goes through every layer once for all candidates",
        "a mask keeps candidates apart, positions begin again with each",
    ),
    compared=(
        "transformers' BertModel with mask, positions, mean and product as in the authors' uni_encoder.py, same random "
        "weights: scores within 1e-4 (test_uni_encoder.py); uni_encoder.py itself was not run: it imports what "
        "transformers no longer has"
    ),
)


def _whole(config: Scorer) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._uni_encoder import Network

    context = torch.zeros((1, config.context), dtype=torch.int64)
    answers = torch.zeros((1, config.candidates, config.answer), dtype=torch.int64)
    return Whole(Network(config), (context, context, answers, answers))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few, unshaped

    missing = not_there(graphs, "main")
    if missing:
        return missing
    graph, layers = graphs["main"], CONFIGS["tiny"].layers
    found = too_few(graph, "Softmax", layers, "one attention a layer over context and candidates")
    found += too_few(graph, "Where", 2, "masks of padding and between candidates")
    return found + unshaped(graph, scores=("batch", "candidates"), context=("batch", "source"))


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Scorer) -> TorchModel:
    """The one part of a configuration."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.language._uni_encoder import Network, shorter

    c, k, n = config.context, config.candidates, config.answer
    # Both lengths vary, and together they have as many positions as the table.
    most = {"source": config.positions * 3 // 4, "answer": config.positions // 4}
    return one_part(
        NAME, Network(config), "response-selection",
        f"context:int64[batch=2,source={c}]", "context_real:int64[batch,source]",
        f"answers:int64[batch,candidates={k},answer={n}]", "answers_real:int64[batch,candidates,answer]",
        outputs=["scores"], upper={"context": config.vocabulary, "answers": config.vocabulary},
        fixed={"context_real": shorter, "answers_real": shorter}, limits=most,
    )  # fmt: skip
