"""Row 27: one frame through the step, with its memories as states, and the whole window computed again for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_WHERE = "abstract, of streaming inference"


def _network(size: str, frames: int) -> TorchModel:
    from edgepack.exporters.architectures.sequence.lmuformer import CONFIGS, NAME
    from edgepack.toolchain.claims._zoo import zoo

    del frames
    return zoo(NAME, CONFIGS[size])


def _step(frames: int) -> list[Work]:
    del frames
    return [Work("step", {"batch": 1})]


def _window(frames: int) -> list[Work]:
    return [Work("main", {"batch": 1, "frames": frames})]


compare(
    Comparison(
        name="lmuformer", row="27",
        paper="LMUFormer: Low Complexity Yet Powerful Spiking Model With Legendre Memory Units", arxiv="2402.04882",
        statements=(
            Statement(LATENCY, "low-cost, and no figure for a frame", _WHERE, None, "times"),
            Statement(MACS, "low-cost, and no figure for a frame", _WHERE, None, "times"),
        ),
        sides=(Side("step", _network, _step), Side("window again", _network, _window)),
        lengths=(16, 32, 64, 128), quick=(16, 32), of="frames of the window", sizes=("speech-commands",),
        quick_size="tiny",
        notes=("One network on both sides, of the published size; the step's answers come 5 frames late.",),
    )
)  # fmt: skip
