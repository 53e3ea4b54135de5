"""Row 06: one token behind n others, by a decoder that keeps one cache of n positions and by one that keeps twelve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import MACS, RATE, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_VOCABULARY = 16384


def _sambay(size: str, tokens: int) -> TorchModel:
    from edgepack.exporters.architectures.sequence.sambay import NAME, SambaY
    from edgepack.toolchain.claims._zoo import zoo

    if size == "tiny":
        return zoo(NAME, SambaY(61, 32, 48, 8, 4, 2, head_width=8, window=4, states=4, positions=tokens))
    return zoo(NAME, SambaY(_VOCABULARY, 512, 1536, 12, 8, 4, head_width=64, positions=tokens))


def _transformer(size: str, tokens: int) -> TorchModel:
    from edgepack.toolchain.claims._zoo import grouped

    return grouped(_VOCABULARY, size, tokens)


def _token(tokens: int) -> list[Work]:
    del tokens
    return [Work("decode", {"batch": 1})]


compare(
    Comparison(
        name="sambay", row="06",
        paper="Decoder-Hybrid-Decoder Architecture for Efficient Reasoning with Long Generation", arxiv="2507.06607",
        statements=(
            Statement(
                RATE, "up to 10x in decoding", "abstract, 2K prompts and 32K tokens written, on a GPU", 10.0, "times"
            ),
            Statement(MACS, "no figure", "the abstract is of throughput", None, "times"),
        ),
        sides=(
            Side("SambaY", _sambay, _token, dynamic=False), Side("transformer", _transformer, _token, dynamic=False),
        ),
        lengths=(1024, 2048, 4096, 8192), quick=(64,), of="positions of a cache", sizes=("58m",), quick_size="tiny",
        notes=(
            "The transformer is row 35's before carving, with grouped heads and 12 caches.",
            "Caches are handed out and in again at every token, on both sides.",
        ),
    )
)  # fmt: skip
