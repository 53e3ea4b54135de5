"""Row 25: pooling without parameters in place of the depthwise convolution that it is to replace, in ResNet-50."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel


def _resnet(spatial: Literal["max", "depthwise"], size: str) -> TorchModel:
    from edgepack.exporters.architectures.vision.pflayer import NAME, PooledResNet
    from edgepack.toolchain.claims._zoo import zoo

    return zoo(
        NAME, PooledResNet(spatial) if size == "r50" else PooledResNet(spatial, (1, 1), (8, 16), 64, 4)
    )


def _pooled(size: str, side: int) -> TorchModel:
    del side
    return _resnet("max", size)


def _depthwise(size: str, side: int) -> TorchModel:
    del side
    return _resnet("depthwise", size)


def _image(side: int) -> list[Work]:
    return [Work(sizes={"batch": 1, "height": side, "width": side})]


compare(
    Comparison(
        name="pflayer", row="25", paper="Learning Features with Parameter-Free Layers", arxiv="2202.02777",
        statements=(
            Statement(LATENCY, "faster than trainable layers", "abstract", None, "times"),
            Statement(MACS, "fewer FLOPs than trainable layers", "abstract", None, "times"),
        ),
        sides=(Side("max-pool", _pooled, _image), Side("depthwise convolution", _depthwise, _image)),
        lengths=(128, 160, 192, 224), quick=(64,), of="pixels of a side", sizes=("r50",), quick_size="tiny",
        power=2,
        notes=("The authors' table has ResNet-50 in 8.7 ms and with pooling in 6.8 ms, on a GPU.",),
    )
)  # fmt: skip
