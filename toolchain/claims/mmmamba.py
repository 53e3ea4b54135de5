"""Row 35: one token behind n others, by a transformer and by what it becomes when all its attention is carved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MEMORY, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_WHERE = "abstract, linear form, at 103K tokens, on a GPU"


def _built(size: str, tokens: int, *, carved: bool) -> TorchModel:
    from edgepack.exporters.architectures.sequence.mmmamba import NAME, MMMamba
    from edgepack.toolchain.claims._zoo import zoo

    sizes = (16384, 512, 1536, 12, 8, 4, 64) if size == "58m" else (61, 32, 48, 4, 4, 2, 8)
    attention = () if carved else tuple(range(sizes[3]))
    return zoo(NAME, MMMamba(*sizes, attention=attention, positions=tokens))


def _linear(size: str, tokens: int) -> TorchModel:
    return _built(size, tokens, carved=True)


def _transformer(size: str, tokens: int) -> TorchModel:
    return _built(size, tokens, carved=False)


def _token(tokens: int) -> list[Work]:
    del tokens
    return [Work("decode", {"batch": 1})]


compare(
    Comparison(
        name="mmmamba", row="35",
        paper="Multimodal Mamba: Decoder-only Multimodal State Space Model via Quadratic to Linear Distillation",
        arxiv="2502.13145",
        statements=(
            Statement(LATENCY, "20.6x faster than HoVLE", _WHERE, 20.6, "times"),
            Statement(MEMORY, "75.8 % less than HoVLE", _WHERE, 1 / (1 - 0.758), "lower"),
        ),
        sides=(
            Side("linear", _linear, _token, dynamic=False), Side("transformer", _transformer, _token, dynamic=False),
        ),
        lengths=(1024, 2048, 4096, 8192), quick=(64,), of="positions of a cache", sizes=("58m",), quick_size="tiny",
        memory=True, equal=False,
        notes=(
            "One network before and after carving, which adds 6 % of parameters: gates, rates and short convolutions.",
            "Caches are handed out and in again at every token; the paper's 103K tokens are not reached here.",
            "Memory is that of a call beyond the loaded model; the paper's is all of a GPU's, weights included.",
        ),
    )
)  # fmt: skip
