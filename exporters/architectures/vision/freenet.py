"""Row 69, FPGA and FreeNet: every pixel of a hyperspectral image is classified in one pass over the whole image.

Classifying a pixel from the patch around it costs a patch for every pixel: with patches of p x p and C
multiply-accumulates a pixel,

    patch by patch   H W p^2 C        all at once   H W C

for the network is convolutional. What it takes from far away comes through strides, and through spectral attention:
x * sigmoid(W_2 relu(W_1 m)), with m the mean of every channel over the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "freenet"


@dataclass(frozen=True)
class HyperspectralSegmenter:
    """Sizes of one segmenter.

    Attributes:
        bands: Channels of the image.
        classes: Classes.
        height: Of the whole image, pixels.
        width: Of the whole image, pixels.
        widths: Channels of the four stages.
        inner: Channels of the decoder.
        reduction: By which spectral attention squeezes, and groups of a normalization.
        seed: Of the random weights.
    """

    bands: int
    classes: int
    height: int
    width: int
    widths: tuple[int, ...] = (96, 128, 192, 256)
    inner: int = 128
    reduction: int = 16
    seed: int = 0


CONFIGS = {
    "pavia": HyperspectralSegmenter(103, 9, 624, 352),
    "salinas": HyperspectralSegmenter(204, 16, 512, 224),
    "grss2013": HyperspectralSegmenter(144, 15, 352, 1920),
    "tiny": HyperspectralSegmenter(16, 5, 32, 32, (16, 16, 32, 32), 16, 4),
}

_CODE = "the authors' network as configs/freenet/freenet_1_0_{}.py has it, its parameters counted"

CARD = Card(
    name=NAME,
    system="69",
    paper="FPGA: Fast Patch-Free Global Learning Framework for Fully End-to-End Hyperspectral Image Classification",
    arxiv="2011.05670",
    says=(
        "abstract: faster and more accurate than patch-based classification on three public data sets",
        "abstract: an encoder-decoder with spectral attention, a light decoder and lateral connections",
    ),
    parts={"main": "a whole hyperspectral image to the probabilities of classes at every pixel"},
    checks=(
        "the exported segmenter against torch on images of several sizes",
        "the cost of one pass is that of its pixels: patches cost their area more",
    ),
    assumed=(
        (
            "a coarse level grows to the size of the finer one, which is twice its own where sizes are multiples of 8, "
            "as the authors' padding makes them; images of other sizes pass as well"
        ),
        "the training's sampling strategy has no part in the shipped network",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("pavia", _CODE.format("pavia"), parameters=2_712_755),
        Published("salinas", _CODE.format("salinas"), parameters=2_800_922),
        Published("grss2013", _CODE.format("grss2013"), parameters=2_748_953),
    ),
    structure=(
        "the whole image in, probabilities at every pixel out: height and width vary",
        "one spectral attention a stage",
        "a lateral connection a stage and an upsampling between stages",
    ),
    compared=(
        "the authors' code (Z-Zheng/FreeNet, with SimpleCV's SEBlock), 'pavia' with the same random weights on an "
        "image of 624 x 352: probabilities from 3e-8 to 0.99, all equal"
    ),
)


def _whole(config: HyperspectralSegmenter) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._freenet import Network

    return Whole(Network(config), (torch.empty(1, config.bands, config.height, config.width),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few, unshaped

    lost = not_there(graphs, "main")
    if lost:
        return lost
    graph, config = graphs["main"], CONFIGS["tiny"]
    stages = len(config.widths)
    lost += unshaped(
        graph,
        image=("batch", config.bands, "height", "width"),
        probabilities=("batch", config.classes, "height", "width"),
    )
    if operators(graph)["Sigmoid"] != stages:
        lost.append(f"spectral attention: {operators(graph)['Sigmoid']} of {stages} Sigmoid")
    # A convolution of its own a stage, two of spectral attention, lateral, refining; and one that enters it.
    lost += too_few(graph, "Conv", stages * 6 + 1, "stages with lateral connections")
    return lost + too_few(graph, "Resize", stages - 1, "the decoder's upsampling")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: HyperspectralSegmenter) -> TorchModel:
    """The segmenter as one part."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._freenet import Network

    image = f"image:float32[batch=2,{config.bands},height={config.height},width={config.width}]"
    sizes = [{"batch": 1, "height": 24, "width": 40}, {"batch": 1, "height": 21, "width": 18}]
    return one_part(
        NAME, Network(config), "image-segmentation", image, outputs=["probabilities"], size_sets=sizes
    )
