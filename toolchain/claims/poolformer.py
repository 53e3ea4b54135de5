"""Row 63: pooling in place of attention, PoolFormer-M36 against DeiT-B as the paper has it, by image size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel


def _pool(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.poolformer import CONFIGS, NAME
    from edgepack.toolchain.claims._zoo import zoo

    del side
    return zoo(NAME, CONFIGS["m36" if size == "paper" else "tiny"])


def _deit(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.poolformer import NAME, DeiT
    from edgepack.toolchain.claims._zoo import zoo

    config = DeiT(12, 768, 12, image=side) if size == "paper" else DeiT(2, 48, 2, image=side)
    return zoo(NAME, config)


def _image(side: int) -> list[Work]:
    return [Work(sizes={"batch": 1, "height": side, "width": side})]


def _batch(side: int) -> list[Work]:
    del side
    return [Work(sizes={"batch": 1})]


compare(
    Comparison(
        name="poolformer", row="63", paper="MetaFormer Is Actually What You Need for Vision", arxiv="2111.11418",
        statements=(
            Statement(MACS, "50 % fewer than DeiT-B", "abstract, of PoolFormer-M36 at 224", 2.0, "times"),
            Statement(LATENCY, "no figure", "only multiply-accumulates are compared", None, "times"),
        ),
        sides=(Side("PoolFormer-M36", _pool, _image), Side("DeiT-B", _deit, _batch, dynamic=False)),
        lengths=(128, 224, 320, 448), quick=(64,), of="pixels of a side", sizes=("paper",), quick_size="tiny",
        power=2, equal=False,
    )
)  # fmt: skip
