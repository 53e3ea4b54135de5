"""Row 79, "Hydra": a bidirectional state-space model whose mixer is a quasiseparable matrix, as a BERT.

With s_ij the semiseparable matrix of a selective state-space model (`blocks/_ssm.py`), in both directions:

    y_i = sum_{j < i} forward_{i-1, j} x_j + d_i x_i + sum_{j > i} backward_{i+1, j} x_j,   d_i = D + w . x_i

Both directions share inputs, decay and convolution and have step sizes, ways in and ways out of their own. With e
the inner width, n states, h heads, k taps, d the width, a layer has d (2 e + 4 n + 2 h) + (k + 1) (e + 4 n) +
(e + 3) h + e + e d parameters and a norm of 2 d; there is no feed-forward network.
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

NAME = "hydra"


@dataclass(frozen=True)
class Hydra:
    """Sizes of one network.

    Attributes:
        vocabulary: Tokens.
        width: Channels.
        layers: Mixers.
        head_width: Channels of a head, of which there are `inner` / `head_width`.
        states: Of every channel.
        taps: Of the centred convolution, odd.
        expand: Inner channels for one channel.
        chunk: Steps that are computed as one product.
        positions: The longest sequence.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    layers: int
    head_width: int = 64
    states: int = 64
    taps: int = 7
    expand: int = 2
    chunk: int = 64
    positions: int = 4096
    seed: int = 0

    @property
    def inner(self) -> int:
        """Channels within a mixer."""
        return self.expand * self.width

    @property
    def heads(self) -> int:
        """Heads of a mixer."""
        return self.inner // self.head_width

    @property
    def parameters(self) -> int:
        """By the formula above, with embeddings of tokens and segments, three more norms' worth, and the head."""
        d, e, n, h = self.width, self.inner, self.states, self.heads
        mixer = d * (2 * e + 4 * n + 2 * h) + (self.taps + 1) * (e + 4 * n) + (e + 3) * h + e + e * d
        return self.layers * (mixer + 2 * d) + (self.vocabulary + 2) * d + d * d + 5 * d + self.vocabulary


CONFIGS = {
    "base": Hydra(30528, 768, 23),
    "tiny": Hydra(61, 32, 2, head_width=16, states=8, chunk=4, positions=64),
}

CARD = Card(
    name=NAME,
    system="79",
    paper="Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers",
    arxiv="2407.09941",
    says=(
        "abstract: a drop-in replacement for attention layers; 0.8 points over BERT on GLUE, 2 % over ViT on ImageNet",
        "abstract: sub-quadratic in length",
    ),
    parts={"main": "token ids to the logits of a masked language model, all positions at once"},
    checks=(
        "the chunked mixer against its quasiseparable matrix, written out entry by entry",
        "every position depends on every other; lengths that are no multiple of a chunk",
        "multiply-accumulates of the mixer grow in proportion to the length",
    ),
    assumed=(
        "sequences of a batch have one length: padding is left to the caller",
        "weights are random from a fixed seed; step sizes start as Mamba's, spread instead of drawn",
    ),
    published=(
        Published(
            "base",
            "the authors' code (goombalab/hydra) with its 23 layers holds 112 086 712",
            112_086_712,
        ),
    ),
    structure=(
        "two scans a layer that see opposite triangles, as products of matrices",
        "no operator that loops over time, and none that reverses a sequence",
    ),
    growth=(
        Growth(
            "hydra",
            "multiply-accumulates",
            1.01,
            1.19,
            (256, 512, 1024, 2048),
            "tokens",
            "edgepack claims hydra",
        ),
    ),
    compared=(
        "the authors' mixer (goombalab/hydra), its GPU kernel replaced by the recurrence in plain torch, with the "
        "same weights: outputs of up to 1 differ by less than 4e-7, at widths 32 and 768; run by hand"
    ),
)


def _whole(config: Hydra) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._hydra import Network

    return Whole(Network(config), (torch.zeros(1, 128, dtype=torch.int64),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import operators, too_few

    config = CONFIGS["tiny"]
    # Of one direction: scores, inside, ends, between and way out; then four projections.
    lost = too_few(graphs["main"], "MatMul", config.layers * (2 * 5 + 2), "products of both triangles")
    found = operators(graphs["main"])
    loops = [f"{found[name]} {name}" for name in ("Scan", "Loop", "ReverseSequence") if found[name]]
    return lost + [f"time is walked through: {', '.join(loops)}"] * bool(loops)


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Hydra) -> TorchModel:
    """The single part of a configuration."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.sequence._hydra import Network

    return one_part(
        NAME, Network(config), "fill-mask", "ids:int64[batch=2,sequence=7]", outputs=["logits"],
        upper={"ids": config.vocabulary}, limits={"sequence": config.positions},
    )  # fmt: skip
