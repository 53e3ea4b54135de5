"""Row 62, iLLaMA: LLaMA's layers, causal attention included, as an image classifier.

An image of n patches is a sequence of n + 1 tokens, the class token last, so that it alone sees all of them:

    S = tril(1),   o_i = sum_{j <= i} softmax_j(q_i k_j / sqrt(w)) v_j       (the softmax over all j, then S)

with learned positions added once and rotary ones in every layer. In parameters, with width d, feed-forward width f,
patches of p x p and c classes:

    layer    4 d^2 + 4 d + 3 d f + 2 d
    model    3 p^2 d + d + (n + 2) d + layers + d + c d + c
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

NAME = "illama"


@dataclass(frozen=True)
class ImageLlama:
    """Sizes of one classifier.

    Attributes:
        size: Height and width of an image, pixels.
        patch: Height and width of a patch, pixels.
        width: Channels.
        heads: Attention heads, each of width / heads channels.
        layers: How many.
        hidden: Channels within the feed-forward network.
        classes: Classes.
        seed: Of the random weights.
    """

    size: int
    patch: int
    width: int
    heads: int
    layers: int
    hidden: int
    classes: int = 1000
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.size // self.patch) ** 2 + 1

    @property
    def parameters(self) -> int:
        """By the formula above."""
        d = self.width
        layer = 4 * d * d + 4 * d + 3 * d * self.hidden + 2 * d
        ends = 3 * self.patch**2 * d + d + (self.tokens + 1) * d + d + self.classes * (d + 1)
        return ends + self.layers * layer


CONFIGS = {
    "t16": ImageLlama(224, 16, 192, 3, 12, 512),
    "s16": ImageLlama(224, 16, 384, 6, 12, 1024),
    "b16": ImageLlama(224, 16, 768, 12, 12, 2048),
    "b16-384": ImageLlama(384, 16, 768, 12, 12, 2048),
    "l16": ImageLlama(224, 16, 1024, 16, 24, 2816),
    "l16-384": ImageLlama(384, 16, 1024, 16, 24, 2816),
    "tiny": ImageLlama(32, 8, 32, 2, 2, 64, classes=4),
}

_TABLE = "README of the authors' code, table of ImageNet-1K models"

CARD = Card(
    name=NAME,
    system="62",
    paper="Adapting LLaMA Decoder to Vision Transformer",
    arxiv="2404.06773",
    says=(
        "abstract: 5.7M parameters reach 75.1 % top-1 on ImageNet; about 310M, pre-trained on ImageNet-21K, 86.0 %",
        "the authors' README: 1.3G MACs for the smallest, which are 1.25G counted",
        "abstract: causal self-attention raises computational efficiency and the rank of attention maps",
    ),
    parts={"main": "an image to scores of classes"},
    checks=(
        "the exported classifier against torch at several batch sizes",
        "values reach later tokens only, and those of every patch the class token",
    ),
    assumed=(
        "the mask multiplies the weights behind the softmax, as in the authors' code: rows do not sum to 1",
        "rotary positions turn channels i and i + w/2 and not neighbours: a fixed order of the rows of q and k",
        "no soft mask: it is the training's, and causal at its end",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("t16", _TABLE, parameters=5.7e6),
        Published("s16", _TABLE, parameters=21.9e6, macs=4.6e9),
        Published("b16", _TABLE, parameters=86.3e6, macs=17.6e9),
        Published("b16-384", _TABLE, parameters=86.3e6, macs=55.5e9),
        Published("l16", _TABLE, parameters=310.2e6, macs=62.8e9),
        Published("l16-384", _TABLE, parameters=310.2e6, macs=194.7e9),
    ),
    structure=(
        "the class token is the last of the sequence",
        "every attention is causal: weights times a lower triangle of ones",
    ),
    compared=(
        "the authors' code (techmonsterwang/iLLaMA), t16 with the same random weights on two images of 224 x 224: "
        "logits up to 2.6, differing by 3.8e-6 at most"
    ),
)


def _whole(config: ImageLlama) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._illama import Network

    return Whole(Network(config), (torch.empty(1, 3, config.size, config.size),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    import numpy as np

    from edgepack.exporters.architectures._graphs import not_there, operators, too_few
    from edgepack.exporters.architectures.vision._graphs import constants, feeders

    lost = not_there(graphs, "main")
    if lost:
        return lost
    graph = graphs["main"]
    config = CONFIGS["tiny"]
    triangle = np.tril(np.ones((config.tokens, config.tokens), np.float32))
    masked = sum(np.array_equal(value, triangle) for value in constants(graph, "Mul"))
    if masked < config.layers or operators(graph)["Softmax"] != config.layers:
        lost.append(f"causal attention: {masked} of {config.layers} weights are masked by a lower triangle")
    joined = [node for node in graph.graph if node.op_type == "Concat" and len(node.inputs) == 2]  # noqa: PLR2004
    after = [
        node for node in joined if "Conv" in feeders(node.inputs[0]) and "Conv" not in feeders(node.inputs[1])
    ]
    if not after:
        lost.append("the class token: no Concat puts a constant behind the patches")
    return lost + too_few(graph, "Conv", 1, "patches")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: ImageLlama) -> TorchModel:
    """The classifier as one part."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._illama import Network

    image = f"image:float32[batch=2,3,{config.size},{config.size}]"
    return one_part(NAME, Network(config), "image-classification", image, outputs=["logits"])
