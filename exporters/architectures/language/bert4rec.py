r"""Row 76, BERT4Rec: which item comes next, from a bidirectional encoder over the items that came before.

A user's last items end with the item [mask]; the encoder's vector h at its place is compared with every item's e_v:

    h' = norm(gelu(W h + b)),   score_v = <e_v, h'> + c_v,   the k items of largest score are the recommendation

(section 3.3 of the paper; the item table is that of the input). Padding, id 0, stands in front and is not seen; it
and [mask] are recommended to nobody. Top-k is in the graph: k ids leave it, and not a score for every item.
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

NAME = "bert4rec"


@dataclass(frozen=True)
class Recommender:
    """Sizes.

    Attributes:
        items: That can be recommended: ids 1 to `items`; 0 is padding, and `items` + 1 is [mask].
        width: Channels; the feed-forward network has four times as many.
        heads: Attention heads.
        layers: Of the encoder.
        positions: Most items that are looked at, [mask] included.
        best: How many are recommended.
        seed: Of the random weights.
    """

    items: int
    width: int
    heads: int
    layers: int
    positions: int
    best: int = 10
    seed: int = 0

    @property
    def vocabulary(self) -> int:
        """Items, padding and [mask]."""
        return self.items + 2


CONFIGS = {
    "ml-1m": Recommender(3416, 64, 2, 2, 200),
    "ml-20m": Recommender(26744, 64, 2, 2, 200),
    "beauty": Recommender(54542, 64, 2, 2, 50),
    "steam": Recommender(13047, 64, 2, 2, 50),
    "tiny": Recommender(60, 32, 2, 2, 12, best=5),
}

CARD = Card(
    name=NAME,
    system="76",
    paper="BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
    arxiv="1904.06690",
    says=(
        "section 4.4: 2 layers, 2 heads of 32 channels each at the chosen width of 64; widths of 16 to 256 are tried",
        "the authors' run scripts and configurations (FeiSun/BERT4Rec): 64 channels, 2 heads, feed-forward of 256",
        "section 4.4: sequences of 200 items for MovieLens, of 50 for Beauty and Steam",
        "table 1: 3,416 items in MovieLens-1m, 26,744 in 20m, 54,542 in Beauty, 13,047 in Steam",
    ),
    parts={
        "main": "a user's last items, the last of them [mask], to the ids and scores of those recommended"
    },
    checks=(
        "against torch on several batches",
        "what is padded is not seen",
        "top-k in the graph, never padding or [mask]",
        "same weights in transformers' BERT: same scores",
    ),
    assumed=(
        "one id for padding and one for [mask]: the authors' code keeps two more that it does not use",
        "sequences have their full length, padded in front, as in the authors' data",
    ),
    unpublished="the paper gives no parameter or operation counts",
    structure=(
        "top-k in the graph: ids come out, and no score for every item",
        "every layer attends in both directions",
    ),
    compared=(
        "transformers' BertForMaskedLM, whose network the authors' code changes nothing of, same random weights: "
        "scores equal within 1e-4 (test_bert4rec.py). The authors' own TensorFlow 1 code: not run"
    ),
)


def _whole(config: Recommender) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._bert4rec import Network

    return Whole(Network(config), (torch.zeros((1, config.positions), dtype=torch.int64),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few, unshaped

    missing = not_there(graphs, "main")
    if missing:
        return missing
    tiny, graph = CONFIGS["tiny"], graphs["main"]
    return [
        *too_few(graph, "TopK", 1, "top-k in the graph"),
        *too_few(graph, "Softmax", tiny.layers, "attention of every layer"),
        *unshaped(graph, items=("batch", tiny.best), scores=("batch", tiny.best)),
    ]


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Recommender) -> TorchModel:
    """The one part of a configuration."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.language._bert4rec import Network, histories

    return one_part(
        NAME, Network(config), "recommendation", f"history:int64[batch=2,{config.positions}]",
        outputs=["items", "scores"], fixed={"history": lambda shape: histories(shape, config.items)},
    )  # fmt: skip
