"""Row 77: reading a prefix in both directions by gated state-space layers, and by a transformer of equal size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_VOCABULARY = 16384


def _birdie(size: str, tokens: int) -> TorchModel:
    from edgepack.exporters.architectures.sequence.birdie import NAME, Birdie
    from edgepack.toolchain.claims._zoo import zoo

    if size == "tiny":
        return zoo(NAME, Birdie(61, 32, 64, 2, positions=tokens))
    return zoo(NAME, Birdie(_VOCABULARY, 512, 640, 25, positions=tokens))


def _transformer(size: str, tokens: int) -> TorchModel:
    from edgepack.toolchain.claims._zoo import grouped

    return grouped(_VOCABULARY, size, tokens)


def _prefix(tokens: int) -> list[Work]:
    return [Work("prefill", {"batch": 1, "prompt": tokens})]


compare(
    Comparison(
        name="birdie", row="77",
        paper="Birdie: Advancing State Space Models with Reward-Driven Objectives and Curricula", arxiv="2411.01030",
        statements=(
            Statement(LATENCY, "subquadratic scaling", "introduction, of state-space models", None, "times"),
            Statement(MACS, "subquadratic scaling", "introduction, of state-space models", None, "times"),
        ),
        sides=(
            Side("Birdie", _birdie, _prefix, dynamic=False), Side("transformer", _transformer, _prefix, dynamic=False),
        ),
        lengths=(256, 512, 1024, 2048), quick=(64, 128), of="tokens of a prefix", sizes=("58m",), quick_size="tiny",
        notes=(
            "The transformer is row 35's before carving, with grouped heads; it sees the prefix causally.",
            "Multiply-accumulates are those of products of matrices: a scan's own products are left out.",
        ),
    )
)  # fmt: skip
