"""Row 93: one step of a stream against the clip that it replaces, computed anew: a continual ST-GCN, by clip length.

With b convolutions of k steps and a mean over p of them, a clip without padding has b (k - 1) + p steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.continual_inference import Skeleton
    from edgepack.exporters.sources.base import TorchModel

_WHERE = "arXiv:2203.11009, abstract, of time complexity"


def _blocks(size: str) -> tuple[tuple[int, ...], int]:
    """Widths, and steps of a convolution."""
    return ((*(4 * [64]), *(3 * [128]), *(3 * [256])), 9) if size == "paper" else ((8, 16), 3)


def _shortest(size: str) -> int:
    """Steps of a clip that leave one for the mean."""
    widths, kernel = _blocks(size)
    return len(widths) * (kernel - 1) + 1


def _config(size: str, clip: int) -> Skeleton:
    from edgepack.exporters.architectures.sequence.continual_inference import Skeleton

    widths, kernel = _blocks(size)
    return Skeleton(widths, 25, 2, clip - len(widths) * (kernel - 1), 60, kernel)


def _step(size: str, clip: int) -> TorchModel:
    from edgepack.exporters.architectures.sequence.continual_inference import NAME, ContinualInference
    from edgepack.toolchain.claims._zoo import zoo

    return zoo(NAME, ContinualInference(skeleton=_config(size, clip)))


def _anew(size: str, clip: int) -> TorchModel:
    from edgepack.exporters.architectures._building import one_part
    from edgepack.toolchain.claims._zoo import Called, continual_skeleton

    net = Called(continual_skeleton(_config(size, clip)), "whole")
    return one_part(
        "clip", net, "video-classification", f"clip:float32[batch=2,3,{clip},2,25]", outputs=["scores"]
    )


def _one(clip: int) -> list[Work]:
    del clip
    return [Work("skeleton", {"batch": 1})]


def _clip(clip: int) -> list[Work]:
    del clip
    return [Work(sizes={"batch": 1})]


compare(
    Comparison(
        name="continual-inference", row="93",
        paper="Efficient Online Processing with Deep Neural Networks (Continual Inference Networks, Structured Pruning "
        "Adapters)",
        arxiv="2306.13474",
        statements=(
            Statement(MACS, "up to 109x less", _WHERE, 109.0, "times"),
            Statement(LATENCY, "an order of magnitude", "abstract, of online processing", 10.0, "times"),
        ),
        sides=(
            Side("one step", _step, _one, dynamic=False), Side("clip anew", _anew, _clip, dynamic=False),
        ),
        lengths=(100, 140, 220, 300), quick=(8,), of="steps of a clip", sizes=("paper",), quick_size="tiny",
        least=_shortest,
        notes=(
            "CoST-GCN* of 10 blocks, two skeletons of 25 joints; 300 steps are a clip of NTU RGB+D 60.",
            (
                "The clip is computed anew by the network whose steps are compared, which has no strides over time; "
                "the paper compares with ST-GCN, which pads time and halves it twice: by its shapes 17,252 million "
                "multiply-accumulates at 300 steps, 109 times a step's."
            ),
        ),
    )
)  # fmt: skip
