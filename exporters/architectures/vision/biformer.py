"""Row 81, BiFormer: an image classifier whose regions attend only to those regions that they are routed to.

With S x S regions and k of them routed, an attention over n pixels of d channels costs 2 n^2 d k / S^2
multiply-accumulates in place of 2 n^2 d; what it is, stands in `blocks/_routing_attention.py`. Of the last stage,
7 x 7 pixels at most, every pixel attends to all.
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

NAME = "biformer"


@dataclass(frozen=True)
class RoutedClassifier:
    """Sizes of one classifier.

    Attributes:
        size: Height and width of an image, pixels: a multiple of 16 times `across`, and of 32.
        widths: Channels of the four stages.
        depths: Blocks of each.
        across: Regions in each direction, in every routed stage.
        routed: Regions that a region attends to, of the first three stages.
        head_width: Channels of a head of the routed stages.
        last_heads: Heads of the last stage.
        ratio: Channels within the feed-forward network, in those outside it.
        classes: Classes.
        seed: Of the random weights.
    """

    size: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    across: int = 7
    routed: tuple[int, int, int] = (1, 4, 16)
    head_width: int = 32
    last_heads: int = 8
    ratio: int = 3
    classes: int = 1000
    seed: int = 0


CONFIGS = {
    "t": RoutedClassifier(224, (64, 128, 256, 512), (2, 2, 8, 2)),
    "s": RoutedClassifier(224, (64, 128, 256, 512), (4, 4, 18, 4)),
    "b": RoutedClassifier(224, (96, 192, 384, 768), (4, 4, 18, 4)),
    "tiny": RoutedClassifier(64, (8, 16, 32, 32), (1, 1, 2, 1), 2, (1, 2, 3), 8, 4, classes=4),
}

_TABLE = "README of the authors' code, table of ImageNet-1K models"

CARD = Card(
    name=NAME,
    system="81",
    paper="BiFormer: Vision Transformer with Bi-Level Routing Attention",
    arxiv="2303.08810",
    says=(
        (
            "abstract: irrelevant key-value pairs are left out at the level of regions, then tokens attend within what "
            "remains, with dense matrix products only"
        ),
        "the authors' README: 81.4, 83.8 and 84.3 % top-1 on ImageNet-1K",
    ),
    parts={"main": "an image to scores of classes"},
    checks=(
        "the exported classifier against torch at several batch sizes",
        "routing attention against full attention that is masked to the routed regions",
        "its multiply-accumulates are those of the routed regions only",
    ),
    assumed=(
        "scores are scaled by all channels and not by those of a head, as in the authors' code",
        "weights are random from a fixed seed; statistics of normalizations are made up around 0 and 1",
    ),
    published=(
        Published("t", _TABLE, parameters=13.1e6, macs=2.2e9),
        Published("s", _TABLE, parameters=25.5e6, macs=4.5e9),
        Published("b", _TABLE, parameters=56.8e6, macs=9.8e9),
    ),
    structure=(
        "a block of the first three stages takes the largest scores of regions, and gathers by them",
        "keys and values of a product are as many as are routed",
    ),
    compared=(
        "the authors' code (rayleizhu/BiFormer, biformer_tiny), 't' with the same random weights on two images of "
        "224 x 224: scores of standard deviation 65 differing by 7.6e-5 at most"
    ),
)


def _whole(config: RoutedClassifier) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._biformer import Network

    return Whole(Network(config), (torch.empty(1, 3, config.size, config.size),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few
    from edgepack.exporters.architectures.vision._graphs import feeders

    lost = not_there(graphs, "main")
    if lost:
        return lost
    graph, config = graphs["main"], CONFIGS["tiny"]
    routed = sum(config.depths[:3])
    if operators(graph)["TopK"] != routed:
        lost.append(f"routes: {operators(graph)['TopK']} of {routed} TopK")
    by_route = [
        node for node in graph.graph if node.op_type == "Gather" and "TopK" in feeders(node.inputs[1])
    ]
    if len(by_route) != routed:
        lost.append(f"gathered regions: {len(by_route)} of {routed} Gather read the routes")
    found = [node.outputs[0].shape for node in graph.graph if node.op_type == "Softmax"]
    seen = {shape[-1] for shape in found if shape is not None}
    for stage, count in enumerate(config.routed):
        tokens = (config.size // 2 ** (stage + 2) // config.across) ** 2
        if count * tokens not in seen:
            lost.append(f"stage {stage + 1}: no attention over {count} regions of {tokens} tokens")
    return lost + too_few(graph, "Softmax", sum(config.depths), "attention")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: RoutedClassifier) -> TorchModel:
    """The classifier as one part."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._biformer import Network

    image = f"image:float32[batch=2,3,{config.size},{config.size}]"
    return one_part(NAME, Network(config), "image-classification", image, outputs=["logits"])
