r"""Row 33, WaveMix: tokens mixed by the wavelet transform of their images.

A block reduces its C channels to C / 4 and transforms them, level by level, into bands of half the size,

    low_j, high_j = haar(low_(j-1)),     y_j = norm(up(W_2 gelu(W_1 (low_j, high_j, y_(j+1))))),     y = x + y_1

so that a level of C bands has a quarter of the pixels of the one before. The transform has no parameters and loses
nothing. All products are over channels or over 4 x 4 pixels: the cost is linear in the number of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Growth, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "wavemix"
_BANDS = 4


@dataclass(frozen=True)
class WaveMix:
    """Sizes of a network.

    Attributes:
        depth: Blocks.
        width: Channels, a multiple of 4.
        levels: Of the wavelet transform in every block.
        image: Height and width of the images, a multiple of 4 times 2 to the power of the levels.
        expansion: Hidden channels of a level's MLP, in multiples of `width`.
        strided: Shrink the image by two strided convolutions; otherwise by one over patches of 4 x 4.
        segments: Score every pixel instead of the image.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    depth: int
    width: int
    levels: int
    image: int = 256
    expansion: int = 2
    strided: bool = False
    segments: bool = False
    classes: int = 1000
    seed: int = 0


_TINY = WaveMix(2, 16, 2, image=32, classes=4)

CONFIGS: Mapping[str, WaveMix] = {
    "192-16": WaveMix(16, 192, 3),
    "192-16-lite": WaveMix(16, 192, 1),
    "cityscapes": WaveMix(16, 256, 4, strided=True, segments=True, classes=20),
    "tiny": _TINY,
    "tiny-segmenter": replace(_TINY, strided=True, segments=True),
}

CARD = Card(
    name=NAME,
    system="33",
    paper="WaveMix: A Resource-efficient Neural Network for Image Analysis",
    arxiv="2205.14375",
    says=(
        "abstract: multi-level 2-D wavelet transforms reorganize spatial information losslessly, without parameters",
        "abstract: less GPU memory than networks of as many parameters",
        "table 1: 82.70 % mIoU on Cityscapes with 63 M parameters",
    ),
    parts={"main": "images to scores of classes, or to scores of every pixel"},
    checks=(
        "the exported network against torch on several batches",
        "the exported transform and its inverse give whole-number pixels back, bit by bit",
    ),
    assumed=(
        "bands stand one after the other, and not channel by channel: the order of an MLP's inputs",
        "statistics of the norms and all weights are random from a fixed seed",
    ),
    published=(
        Published(
            "192-16",
            "the authors' public repository, name of the weights for ImageNet of 75.06 % (28M)",
            28e6,
        ),
        Published("cityscapes", "table 1, segmentation of Cityscapes", 63e6),
    ),
    structure=(
        "four depthwise convolutions with constant kernels of 1/2 and -1/2 in every level of every block",
        "no attention",
    ),
    growth=(
        Growth(
            "wavemix",
            "multiply-accumulates",
            1.00,
            1.15,
            (128, 192, 256, 384),
            "pixels of a side, the exponent over pixels",
            "edgepack claims wavemix",
        ),
    ),
    compared=(
        "the authors' public code, run by hand with the same weights and statistics: both forms of tiny and levels "
        "1, 3 and 4 at width 64 differ by less than 1e-6 of the largest score"
    ),
)


def _whole(config: WaveMix) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._wavemix import WaveMixNet

    return Whole(WaveMixNet(config), (torch.zeros(1, 3, config.image, config.image),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators

    lost = not_there(graphs, "main")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    bands = 0
    for node in graphs["main"].graph:
        kernel = node.inputs[1].const_value if node.op_type == "Conv" and node.inputs[1] is not None else None
        if kernel is not None and tuple(kernel.shape) == (config.width // 4, 1, 2, 2):
            bands += bool((abs(kernel.numpy()) == 0.5).all())  # noqa: PLR2004 - the wavelet's
    wanted = _BANDS * config.levels * config.depth
    if bands != wanted:
        lost.append(f"{bands} convolutions with the wavelet's kernels and not {wanted}")
    if operators(graphs["main"])["Softmax"]:
        lost.append("there is attention in a network without any")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: WaveMix) -> TorchModel:
    """The classifier or segmenter of a configuration."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._wavemix import WaveMixNet

    task = "image-segmentation" if config.segments else "image-classification"
    return one_part(
        NAME, WaveMixNet(config), task,
        f"pixel_values:float32[batch=2,3,{config.image},{config.image}]", outputs=["logits"],
    )  # fmt: skip
