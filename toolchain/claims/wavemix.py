"""Row 33: mixing by wavelets is linear in pixels: WaveMix beside a vision transformer of as many parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MEMORY, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel


def _waves(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.wavemix import NAME, WaveMix
    from edgepack.toolchain.claims._zoo import zoo

    return zoo(NAME, WaveMix(16, 128, 1, image=side) if size == "6m" else WaveMix(1, 16, 1, image=side))


def _transformer(size: str, side: int) -> TorchModel:
    from edgepack.exporters.architectures.vision.poolformer import NAME, DeiT
    from edgepack.toolchain.claims._zoo import zoo

    return zoo(NAME, DeiT(12, 192, 3, image=side) if size == "6m" else DeiT(1, 32, 2, image=side))


def _image(side: int) -> list[Work]:
    del side
    return [Work(sizes={"batch": 1})]


compare(
    Comparison(
        name="wavemix", row="33", paper="WaveMix: A Resource-efficient Neural Network for Image Analysis",
        arxiv="2205.14375",
        statements=(
            Statement(MEMORY, "less than networks of as many parameters", "abstract", None, "times"),
            Statement(LATENCY, "no figure", "the abstract is of memory on a GPU", None, "times"),
        ),
        sides=(
            Side("WaveMix-128/16, 1 level", _waves, _image, dynamic=False),
            Side("DeiT-T", _transformer, _image, dynamic=False),
        ),
        lengths=(128, 192, 256, 384), quick=(64,), of="pixels of a side", sizes=("6m",), quick_size="tiny",
        memory=True, power=2,
        notes=("The exponents are over pixels. WaveMix works on patches of 4 x 4, the transformer of 16 x 16.",),
    )
)  # fmt: skip
