"""Row 41, Pointer Networks: the answer's alphabet is the input, element by element.

    e_j = encoder(x_1 .. x_j),   d_i = decoder(x_(answers so far)),   u_ij = v . tanh(W_1 e_j + W_2 d_i),
    p(answer i = element j) = softmax_j u_ij

No matrix has a size that depends on how many elements there are, so that a network trained on some length answers any
other. W_1 e_j is computed when element j is read, once, and not at every answer.
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

NAME = "pointer-network"
_LENGTH = 20  # of the rollout


@dataclass(frozen=True)
class PointerNetwork:
    """Sizes of one network.

    Attributes:
        width: Of both LSTMs, and of the pointer.
        features: Numbers of an element: 2 for a point of the plane.
        seed: Of the random weights.
    """

    width: int
    features: int = 2
    seed: int = 0


CONFIGS = {
    "planar-512": PointerNetwork(512),
    "planar-256": PointerNetwork(256),
    "tiny": PointerNetwork(24),
}

CARD = Card(
    name=NAME,
    system="41",
    paper="Pointer Networks",
    arxiv="1506.03134",
    says=(
        "abstract: the output dictionary is the positions of the input, whose number varies",
        "abstract: learned models generalize beyond the maximum lengths they were trained on",
        "section 4.1: one layer LSTM of 256 or 512 hidden units",
        "table 1: trained on convex hulls of 5 to 50 points, 500 points are answered",
    ),
    parts={
        "encoder": "one element, the slot that it goes into, and the states, to the next states",
        "decoder": "the element that was pointed at last (zeros to begin with), to scores over the slots",
    },
    checks=(
        "both parts against torch on several batches and numbers of slots",
        f"{_LENGTH} elements and as many answers against the whole at once",
        "one graph answers lengths that its example did not have, with empty slots or without",
    ),
    assumed=(
        "there are as many slots as the caller says; where some stay empty, the caller leaves out their scores",
        "the first input of the decoder is zeros, the paper's symbol that begins an answer",
        "which answers are legal is up to the caller, who chooses from the scores (section 4.1 searches with a beam)",
        "weights are random from a fixed seed",
    ),
    unpublished="the paper gives hidden units, not parameters",
    structure=(
        "the scores are as many as slots, a size that varies, and no weight has it",
        "the decoder does not project keys again",
    ),
    compared="not run: no code of the authors is known; both LSTMs equal torch.nn.LSTM with the same weights (a test)",
)


def _whole(config: PointerNetwork) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._pointer_network import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, unshaped

    lost = not_there(graphs, "encoder", "decoder")
    if lost:
        return lost
    width = CONFIGS["tiny"].width
    for part in ("encoder", "decoder"):
        lost += unshaped(graphs[part], keys=("batch", "slots", width))
    lost += unshaped(graphs["encoder"], next_keys=("batch", "slots", width))
    lost += unshaped(graphs["decoder"], scores=("batch", "slots"))
    found = operators(graphs["decoder"])
    products = found["MatMul"] + found["Gemm"]
    if products != 4:  # noqa: PLR2004 - input, state, query, score
        lost.append(f"a decoder step has {products} products and not 4: of its input, its state, W_2 and v")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: PointerNetwork) -> TorchModel:
    """Parts, links and rollout of a configuration."""
    from edgepack.exporters.architectures.sequence import _pointer_network

    return _pointer_network.build(config, NAME, _LENGTH)
