"""Row 77, "Birdie": a state-space language model that reads its prefix in both directions and generates in one.

With gates f_t = sigmoid(W_f x_t), i_t = sigmoid(W_i x_t), o_t = gelu(W_o x_t) and products element by element:

    h_t = f_t h_{t-1} + i_t (W_z x_t),   out = W (o_t h_t)

(section 3.4 of the paper, its "Gated SSM"; gates and feed-forward network are one.) In every other layer half of the
channels run from the prefix's end to its beginning, h_t = f_t h_{t+1} + ...; behind the prefix their f is 0, so that
they say what is there now and nothing of what is to come (section 3.1, appendix A.3). The channels that run forward
are all that a step needs. With d channels, n states, L layers and V tokens: L (5 n d + d) + (2 V + 1) d parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Growth, Published

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
        inner: States of a layer, one number each, an even number of them.
        layers: Every other one, beginning with the first, reads the prefix in both directions.
        positions: The longest prefix.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    inner: int
    layers: int
    positions: int = 4096
    seed: int = 0


CONFIGS = {
    "1.4b": Birdie(32000, 2048, 2560, 48),
    "tiny": Birdie(61, 32, 64, 2, positions=48),
}

CARD = Card(
    name=NAME,
    system="77",
    paper="Birdie: Advancing State Space Models with Reward-Driven Objectives and Curricula",
    arxiv="2411.01030",
    says=(
        "abstract: bidirectional reading of the prefix that passes into causal generation, without a growing state",
        "abstract: narrows the gap to transformers in retrieval from the context",
        "section 4.1: models of 1.4 billion parameters",
        "table 7: 2,048 channels, 2,560 states, 48 blocks, bidirectional and causal ones in turn",
    ),
    parts={
        "prefill": "a prefix, read in both directions, to the logits after it and one state a layer",
        "decode": "a token and the states to the next; nothing of it depends on the position",
    },
    checks=(
        "single steps after a prefix against the whole sequence",
        "the prefix's positions see one another, and no generated position is seen by one before it",
        "the states' size does not depend on the length of anything",
        "multiply-accumulates of a prefill in proportion to its length",
    ),
    assumed=(
        "the prefix ends with the token that begins the generation, which the paper's mask lets the prefix see",
        "32,000 tokens, the default of the authors' example, and a head of its own: the paper gives neither",
        "the mixture of objectives is training's; the paper's other networks (Hawk, a transformer) are not this row",
        "weights are random from a fixed seed",
    ),
    published=(Published("1.4b", "section 4.1: 1.4B, with the sizes of table 7", parameters=1.4e9),),
    structure=(
        "a prefill that scans in two directions and a step that scans in one, without a loop over time",
        "one state a layer, of constant size",
    ),
    growth=(
        Growth(
            "birdie",
            "multiply-accumulates",
            1.00,
            1.19,
            (256, 512, 1024, 2048),
            "tokens of a prefix",
            "edgepack claims birdie",
        ),
    ),
    compared=(
        "not run: the authors' repository (samblouir/birdie) has no code of this network. Its example is a transformer "
        "that imports a package which is not published, and the layer called GatedSSM, of the model that chooses "
        "objectives, has other gates and one direction. A test holds ours against the recurrence of the paper's "
        "appendix A.4, walked step by step"
    ),
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
        lost += too_few(graph, "Sigmoid", 2 * config.layers, f"gates in {part}")
    # Of a layer that reads both ways, the half that runs forward.
    shapes = {f"state_{i}": ("batch", config.inner // (2 - i % 2)) for i in range(config.layers)}
    return lost + unshaped(graphs["decode"], **shapes)


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
