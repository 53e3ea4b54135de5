"""Row 06, "SambaY": a decoder whose second half computes no keys, values or state-space models of its own.

Of n layers (a multiple of 4) the first n / 2 + 1 are the self-decoder: Mamba (`blocks/_selective.py`) and attention
over a window in turn. Then one layer of full attention, whose keys and values are the only ones that grow with the
sequence; then, in turn, Gated Memory Units, which gate the last Mamba's readout m, and attention over those keys:

    gmu(x, m) = W_2 (silu(W_1 x) m)

No positions are encoded. A prompt goes through the self-decoder as a whole, and through the rest at its last position.
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

NAME = "sambay"


@dataclass(frozen=True)
class SambaY:
    """Sizes of one network.

    Attributes:
        vocabulary: Tokens.
        width: Channels.
        hidden: Channels within the feed-forward network.
        layers: A multiple of 4.
        heads: Of queries.
        key_heads: Of keys and values.
        head_width: Channels of a head.
        window: Positions that a window holds.
        states: Of every inner channel of a state-space model.
        positions: Most positions of a sequence.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_width: int = 128
    window: int = 128
    states: int = 16
    positions: int = 4096
    seed: int = 0


def _scaled(depth: int) -> SambaY:
    """The authors' rule: 124 channels a layer, a head a layer, keys for every fourth of them."""
    return SambaY(32000, 124 * depth, 4 * 124 * depth, depth, depth, depth // 4)


CONFIGS = {
    "d16": _scaled(16),
    "d8": _scaled(8),
    "d24": _scaled(24),
    "tiny": SambaY(61, 32, 48, 8, 4, 2, head_width=8, window=4, states=4, positions=48),
}

CARD = Card(
    name=NAME,
    system="06",
    paper="Decoder-Hybrid-Decoder Architecture for Efficient Reasoning with Long Generation",
    arxiv="2507.06607",
    says=(
        "abstract: up to 10x the decoding throughput at prompts of 2K and generations of 32K tokens, served by vLLM",
        "abstract: prefill in linear time; no positional encoding",
    ),
    parts={
        "prefill": "a prompt to the logits after it, the self-decoder's states, and the one cache",
        "decode": "a token against states of constant size and the one cache",
    },
    checks=(
        "single steps after a prompt against the whole sequence with all layers at every position",
        "one key and one value cache grow with the number of positions, whatever the depth",
        "multiply-accumulates of a prefill in proportion to its length",
    ),
    assumed=(
        "attention sees a window of the last w positions, itself included",
        "norms are root mean square; the largest model's differential attention is not part of this row",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("d16", "the authors' formula (lit_gpt/config.py): 14.5 a^2 + 144 a times d^3 with a = 124, and two "
                  "embeddings of 32000", (14.5 * 124**2 + 144 * 124) * 16**3 + 2 * 32000 * 124 * 16),
        Published("d24", "as d16", (14.5 * 124**2 + 144 * 124) * 24**3 + 2 * 32000 * 124 * 24),
    ),
    structure=(
        "one cache of keys and one of values hold all positions; every other state has constant size",
        "units that gate the memory's readout, and attention that computes no keys",
        "no loop over time in the prefill",
    ),
    compared="the authors' network as a whole (microsoft/ArchScale, lit_gpt/model.py, sambay_d8), their GPU kernels "
    "replaced by plain torch (the scan by the one that their code has beside its kernel) and bfloat16 left out, same "
    "random weights: as many parameters (190 340 000), logits over 200 tokens differ by 2.6e-6 of up to 1.7; with 32 "
    "channels and a window of 4 over 41 tokens, by 2.8e-7 of up to 0.30; run by hand",
)  # fmt: skip


def _whole(config: SambaY) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._sambay import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    lost = not_there(graphs, "prefill", "decode")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    held = [
        str(value.name)
        for value in graphs["decode"].graph.inputs
        if value.shape is not None and config.positions in tuple(value.shape)
    ]
    lost += [] if held == ["key", "value"] else [f"all positions are held by {held}"]
    # windows, the full attention and those that read its keys
    softmaxes = config.layers // 4 + 1 + config.layers // 4 - 1
    for part, graph in graphs.items():
        lost += too_few(graph, "Softmax", softmaxes, f"attention in {part}")
        found = operators(graph)
        lost += [f"{part}: {found[name]} {name}" for name in ("Scan", "Loop") if found[name]]
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: SambaY) -> TorchModel:
    """Both parts, links and rollout."""
    from edgepack.exporters.architectures.sequence import _decoding
    from edgepack.exporters.architectures.sequence._sambay import Network, state_shapes

    return _decoding.build(
        Network(config).eval(),
        NAME,
        state_shapes(config),
        vocabulary=config.vocabulary,
        capacity=config.positions,
    )
