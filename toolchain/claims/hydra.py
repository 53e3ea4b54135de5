"""Row 79: what a quasiseparable mixer costs beside attention in a network of equal size, over lengths.

Of width 384, 14 layers of Hydra have as many parameters as 8 of BERT within 2 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_VOCABULARY = 16384
_WIDTHS = {"20m": (384, 6, 14, 8), "tiny": (32, 2, 2, 1)}
"""Width, attention heads, layers of Hydra, layers of the transformer."""


def _hydra(size: str, length: int) -> TorchModel:
    from edgepack.exporters.architectures.sequence.hydra import NAME, Hydra
    from edgepack.toolchain.claims._zoo import zoo

    del length
    width, _, layers, _ = _WIDTHS[size]
    return zoo(NAME, Hydra(_VOCABULARY, width, layers, head_width=width // 2 if width < 64 else 64))  # noqa: PLR2004


def _bert(size: str, length: int) -> TorchModel:
    from edgepack.toolchain.claims._zoo import bidirectional

    del length
    width, heads, _, layers = _WIDTHS[size]
    return bidirectional(_VOCABULARY, width, heads, layers)


def _one(length: int) -> list[Work]:
    return [Work(sizes={"batch": 1, "sequence": length})]


compare(
    Comparison(
        name="hydra", row="79",
        paper="Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers", arxiv="2407.09941",
        statements=(
            Statement(LATENCY, "sub-quadratic in length", "abstract", None, "times"),
            Statement(MACS, "sub-quadratic in length", "abstract", None, "times"),
        ),
        sides=(Side("Hydra", _hydra, _one), Side("attention", _bert, _one)),
        lengths=(256, 512, 1024, 2048), quick=(128, 256), of="tokens", sizes=("20m",), quick_size="tiny",
        notes=("The exponents say how each side grows; the ratio says which is faster at a length.",),
    )
)  # fmt: skip
