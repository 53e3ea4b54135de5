"""Row 87: gated linear attention over the patches of large images, ViG-T against DeiT-T, by image size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, MEMORY, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_WHERE = "abstract, at 1024 pixels, on a GPU"
_WIDTHS = {"paper": (192, 3, 512, 12), "tiny": (32, 2, 48, 2)}
"""Width, heads, ViG's channels within the feed-forward network, blocks."""


def _vig(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.vig import NAME, ViG
    from edgepack.toolchain.claims._zoo import zoo

    width, heads, hidden, blocks = _WIDTHS[size]
    return zoo(NAME, ViG(width, heads, hidden, blocks, active=True, size=side, chunk=64))


def _deit(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.poolformer import NAME, DeiT
    from edgepack.toolchain.claims._zoo import zoo

    width, heads, _, blocks = _WIDTHS[size]
    return zoo(NAME, DeiT(blocks, width, heads, image=side))


def _image(side: int) -> list[Work]:
    del side
    return [Work(sizes={"batch": 1})]


compare(
    Comparison(
        name="vig", row="87",
        paper="ViG: Linear-complexity Visual Sequence Learning with Gated Linear Attention", arxiv="2405.18425",
        statements=(
            Statement(LATENCY, "4.8x faster than DeiT-T", _WHERE, 4.8, "times"),
            Statement(MACS, "5.2x fewer FLOPs than DeiT-T", _WHERE, 5.2, "times"),
            Statement(MEMORY, "90 % less than DeiT-T", _WHERE, 10.0, "lower"),
        ),
        sides=(Side("ViG-T", _vig, _image, dynamic=False), Side("DeiT-T", _deit, _image, dynamic=False)),
        lengths=(384, 512, 768, 1024), quick=(128,), of="pixels of a side", sizes=("paper",), quick_size="tiny",
        memory=True, power=2, equal=False,
        notes=(
            "The paper's widths: 5.8 and 5.7 million parameters at 224 pixels; learned positions add to both.",
        ),
    )
)  # fmt: skip
