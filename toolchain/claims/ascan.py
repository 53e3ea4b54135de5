"""Row 05: convolutions early and transformers late, AsCAN's classifier against attention alone, by image size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel


def _asymmetric(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._ascan import ClassifierNetwork
    from edgepack.exporters.architectures.vision.ascan import Classifier

    if size == "26m":
        config = Classifier(side, (64, 128, 256, 512), ("CC", "CCC", "CCCTT", "TTTT"))
    else:
        config = Classifier(side, (16, 16, 24, 32), ("C", "C", "CT", "T"), 8)
    return one_part(
        "ascan", ClassifierNetwork(config), "image-classification", f"image:float32[batch=2,3,{side},{side}]",
        outputs=["logits"],
    )  # fmt: skip


def _attention(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.poolformer import NAME, DeiT
    from edgepack.toolchain.claims._zoo import zoo

    return zoo(NAME, DeiT(12, 420, 7, image=side) if size == "26m" else DeiT(2, 32, 2, image=side))


def _image(side: int) -> list[Work]:
    del side
    return [Work(sizes={"batch": 1})]


compare(
    Comparison(
        name="ascan", row="05",
        paper="AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and Generation",
        arxiv="2411.04967",
        statements=(
            Statement(LATENCY, "a better trade-off of performance and latency", "abstract, no figure", None, "times"),
            Statement(MACS, "no figure", "the abstract is of latency", None, "times"),
        ),
        sides=(
            Side("AsCAN", _asymmetric, _image, dynamic=False),
            Side("attention alone", _attention, _image, dynamic=False),
        ),
        lengths=(128, 224, 320, 448), quick=(64,), of="pixels of a side", sizes=("26m",), quick_size="tiny", power=2,
        notes=(
            "Attention alone is DeiT of 12 blocks of 420 channels, on patches of 16 x 16.",
            "AsCAN's blocks and widths are our own choice within the paper's rule.",
        ),
    )
)  # fmt: skip
