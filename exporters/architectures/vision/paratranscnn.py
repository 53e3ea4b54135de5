"""Row 92, ParaTransCNN: a residual network and a pyramid of transformers see the image side by side.

At 1/4, 1/8 and 1/16 of the image's size their channels stand beside one another and are weighed by channel attention,

    m = [t, c],   m' = m * sigmoid(W_2 relu(W_1 mean over pixels of m)),

and a decoder goes from the coarsest level to the finest: y_l = grow(refine([m'_l, y_(l+1)])).
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

NAME = "paratranscnn"


@dataclass(frozen=True)
class ParallelSegmenter:
    """Sizes of one segmenter.

    Attributes:
        size: Height and width of an image, pixels; a multiple of 16.
        classes: Classes.
        widths: Channels of the residual network's four stages.
        blocks: Blocks of each.
        token_width: Channels of the first transformer; the next ones have twice as many each.
        depths: Layers of the three transformers.
        heads: Attention heads.
        squeeze: By which channel attention squeezes.
        seed: Of the random weights.
    """

    size: int
    classes: int
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    token_width: int = 320
    depths: tuple[int, int, int] = (3, 3, 3)
    heads: int = 8
    squeeze: int = 16
    seed: int = 0


CONFIGS = {
    "synapse": ParallelSegmenter(224, 9),
    "tiny": ParallelSegmenter(32, 4, (8, 16, 16, 32), (1, 2, 1, 1), 16, (1, 1, 1), 2, 4),
}

CARD = Card(
    name=NAME,
    system="92",
    paper="ParaTransCNN: Parallelized TransCNN Encoder for Medical Image Segmentation",
    arxiv="2401.15307",
    says=(
        "abstract: better segmentation of the aortic vessel tree, the heart and several organs, small ones above all",
    ),
    parts={"main": "an image to scores of classes at every pixel"},
    checks=(
        "the exported segmenter against torch at several batch sizes",
        "both encoders have levels of equal sizes, and what each sees is local or global",
    ),
    assumed=(
        "weights are random from a fixed seed, those of the residual network as well",
        "statistics of normalizations are made up around 0 and 1",
    ),
    published=(
        Published(
            "synapse",
            "the authors' network with its default arguments, its parameters counted",
            parameters=245_468_937,
        ),
    ),
    structure=(
        "two encoders read the image: a residual network and three transformers over all tokens",
        "channel attention merges them at three levels",
        "three transposed convolutions back to the image's size",
    ),
    compared=(
        "the authors' code (HongkunSun/ParaTransCNN, its ResNet-34 written out as torchvision defines it), 'synapse' "
        "with the same random weights on an image of 224 x 224: scores up to 0.099, differing by 4.5e-8 at most"
    ),
)


def _whole(config: ParallelSegmenter) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._paratranscnn import Network

    return Whole(Network(config), (torch.empty(1, 3, config.size, config.size),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few, unshaped

    lost = not_there(graphs, "main")
    if lost:
        return lost
    graph, config = graphs["main"], CONFIGS["tiny"]
    read = [node.op_type for value in graph.graph.inputs for node in value.consumers()]
    if read.count("Conv") != 2:  # noqa: PLR2004 - two encoders
        lost.append(f"two encoders: the image is read by {read}")
    if operators(graph)["Sigmoid"] != len(config.depths):
        lost.append(f"channel attention: {operators(graph)['Sigmoid']} of {len(config.depths)} Sigmoid")
    lost += too_few(graph, "Softmax", sum(config.depths), "transformers")
    lost += too_few(graph, "ConvTranspose", len(config.depths), "the decoder")
    return lost + unshaped(graph, scores=("batch", config.classes, config.size, config.size))


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: ParallelSegmenter) -> TorchModel:
    """The segmenter as one part."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._paratranscnn import Network

    image = f"image:float32[batch=2,3,{config.size},{config.size}]"
    return one_part(NAME, Network(config), "image-segmentation", image, outputs=["scores"])
