"""Row 64: all candidates in one pass behind one context, against a pass for each: one network, called in two ways.

The cross-encoder's calls are one batch with as many rows as there are candidates; the length is their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_CONTEXT, _ANSWER = 256, 32


def _scorer(size: str, candidates: int) -> TorchModel:
    from edgepack.exporters.architectures.language.uni_encoder import NAME, Scorer
    from edgepack.toolchain.claims._zoo import zoo

    del candidates
    width, heads, layers, vocabulary = (256, 4, 6, 16384) if size == "9m" else (32, 4, 2, 61)
    return zoo(NAME, Scorer(width, heads, 4 * width, layers, vocabulary=vocabulary))


def _together(candidates: int) -> list[Work]:
    return [Work(sizes={"batch": 1, "source": _CONTEXT, "candidates": candidates, "answer": _ANSWER})]


def _each(candidates: int) -> list[Work]:
    return [Work(sizes={"batch": candidates, "source": _CONTEXT, "candidates": 1, "answer": _ANSWER})]


compare(
    Comparison(
        name="uni-encoder", row="64",
        paper="Uni-Encoder: A Fast and Accurate Response Selection Paradigm for Generation-Based Dialogue Systems",
        arxiv="2106.01263",
        statements=(
            Statement(LATENCY, "about 4x faster than a Cross-Encoder", "abstract, 10 candidates", 4.0, "times"),
            Statement(MACS, "the context is encoded once", "abstract", None, "times"),
        ),
        sides=(Side("all candidates at once", _scorer, _together), Side("each with the context", _scorer, _each)),
        lengths=(2, 5, 10, 20), quick=(3,), of="candidates", sizes=("9m",), quick_size="tiny",
        notes=(f"A context of {_CONTEXT} tokens, candidates of {_ANSWER}; the paper has BERT-base on a GPU.",),
    )
)  # fmt: skip
