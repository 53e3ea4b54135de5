"""Row 48: frames a second of a video that is a network, HNeRV's decoder, beside that of NeRV's sizes.

Real time is 30 frames a second. NeRV (arXiv:2110.13903) halves its channels from block to block and has 3 x 3 kernels
throughout; at equal parameters most of them then stand where the image is smallest, and cost least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import MACS, RATE, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_STRIDES = (5, 4, 2, 2)
_CHANNELS = {"0.4m": (48, 54), "tiny": (16, 17)}
"""In front of the first block: HNeRV's, and NeRV's of as many parameters."""


def _decoder(height: int, channels: int, kernels: tuple[int, ...], reduction: float) -> TorchModel:
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.blocks._weights import initialize
    from edgepack.exporters.architectures.vision._hnerv import Decoder
    from edgepack.exporters.architectures.vision.hnerv import NeuralVideo

    config = NeuralVideo(1, height, 2 * height, channels, _STRIDES, kernels, reduction)
    rows, columns = config.grid
    net = Decoder(config)
    initialize(net, config.seed)
    return one_part(
        "hnerv", net, "video-decoding", f"embedding:float32[batch=2,{config.embedding},{rows},{columns}]",
        outputs=["frame"],
    )  # fmt: skip


def _even(size: str, height: int) -> TorchModel:
    return _decoder(height, _CHANNELS[size][0], (1, 3, 5, 5), 1.2)


def _halved(size: str, height: int) -> TorchModel:
    return _decoder(height, _CHANNELS[size][1], (3, 3, 3, 3), 2.0)


def _frame(height: int) -> list[Work]:
    del height
    return [Work(sizes={"batch": 1})]


compare(
    Comparison(
        name="hnerv", row="48", paper="HNeRV: A Hybrid Neural Representation for Videos", arxiv="2304.02633",
        statements=(
            Statement(RATE, "decodes faster than H.264, H.265 and learned codecs", "abstract, on a GPU", None, "times"),
            Statement(MACS, "no figure", "only time is compared", None, "times"),
        ),
        sides=(
            Side("HNeRV's decoder", _even, _frame, dynamic=False),
            Side("NeRV's sizes", _halved, _frame, dynamic=False),
        ),
        lengths=(80, 160, 240, 320), quick=(80,), of="pixels of a frame's height, which is twice as wide",
        sizes=("0.4m",), quick_size="tiny", power=2,
        notes=(
            "A call decodes one frame: more than 30 calls a second are faster than real time.",
            "NeRV's sizes are channels that halve and kernels of 3 x 3: at equal parameters it has fewer products.",
        ),
    )
)  # fmt: skip
