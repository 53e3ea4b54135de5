"""Row 77, "Birdie": a state-space language model that reads its prefix in both directions and generates in one.

With k_t = sigmoid(K x_t), gates e_t and g_t in (0, 1) and every product element by element:

    h_t = k_t h_{t-1} + (1 - k_t) e_t u_t,   out = W (g_t h_t)

In the prefix a part of the channels runs from its end to its beginning, h_t = k_t h_{t+1} + ...; what is generated
goes on forward in all channels, from the states at the prefix's last position. They are all that a step needs.
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

NAME = "birdie"


@dataclass(frozen=True)
class Birdie:
    """Sizes of one network.

    Attributes:
        vocabulary: Tokens.
        width: Channels.
        inner: States of a layer, one number each.
        backward: How many of them read the prefix from its end.
        hidden: Channels within the feed-forward network.
        layers: Each a state-space model and a feed-forward network.
        positions: The longest prefix.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    inner: int
    backward: int
    hidden: int
    layers: int
    positions: int = 4096
    seed: int = 0


CONFIGS = {
    "1.4b": Birdie(32000, 2048, 4096, 1024, 5632, 17),
    "tiny": Birdie(61, 32, 64, 16, 48, 2, positions=48),
}

CARD = Card(
    name=NAME,
    system="77",
    paper="Birdie: Advancing State Space Models with Reward-Driven Objectives and Curricula",
    arxiv="2411.01030",
    says=(
        "abstract: bidirectional reading of the prefix that passes into causal generation, without a growing state",
        "abstract: narrows the gap to transformers in retrieval from the context",
    ),
    parts={
        "prefill": "a prefix, read in both directions, to the logits after it and one state a layer",
        "decode": "a token and the states to the next; nothing of it depends on the position",
    },
    checks=(
        "single steps after a prefix against the whole sequence",
        "the prefix's positions see one another, and no generated position is seen by one before it",
        "the states' size does not depend on the length of anything",
    ),
    assumed=(
        "the gated state-space layer of the authors' code, and their mixture of objectives left to training",
        "a quarter of the channels runs backward in the prefix; they go on from the state at its last position",
        "the sizes of the configuration 1.4b, which come to 1.43 billion parameters, are our own",
        "weights are random from a fixed seed",
    ),
    unpublished="the abstract gives no size",
    structure=(
        "a prefill that scans in two directions and a step that scans in one, without a loop over time",
        "one state a layer, of constant size",
    ),
    compared="not run: the authors publish the layer as a reference without the bidirectional prefix; a test of the "
    "project holds ours against the recurrence written out step by step",
)


def _whole(config: Birdie) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._birdie import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few, unshaped

    lost = not_there(graphs, "prefill", "decode")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    for part, graph in graphs.items():
        found = operators(graph)
        lost += [f"{part}: {found[name]} {name}" for name in ("Scan", "Loop", "Softmax") if found[name]]
        lost += too_few(graph, "Sigmoid", 4 * config.layers, f"gates in {part}")
    shape = ("batch", config.inner)
    return lost + unshaped(graphs["decode"], **{f"state_{i}": shape for i in range(config.layers)})


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Birdie) -> TorchModel:
    """Both parts, links and rollout."""
    from edgepack.exporters.architectures.sequence import _decoding
    from edgepack.exporters.architectures.sequence._birdie import Network, state_shapes

    return _decoding.build(
        Network(config).eval(),
        NAME,
        state_shapes(config),
        vocabulary=config.vocabulary,
        capacity=config.positions,
        placed=False,
    )
