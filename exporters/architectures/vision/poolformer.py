r"""Row 63, MetaFormer: a transformer whose token mixer is the average of neighbouring pixels.

    x' = x + s_1 (pool(norm x) - norm x)        pool: mean over 3 x 3 pixels, those inside the image
    y  = x' + s_2 W_2 gelu(W_1 norm x')

in four stages of images that shrink by 4, 2, 2 and 2. The mixer has no parameters and multiplies nothing, so that
all products are those of the channels. DeiT-B, which the paper compares with, mixes by attention between patches.
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

NAME = "poolformer"


@dataclass(frozen=True)
class PoolFormer:
    """Sizes of a pyramid.

    Attributes:
        depths: Blocks of every stage.
        widths: Channels of every stage.
        image: Height and width of the images that it is counted and traced with; others work as well.
        pool: Pixels that are averaged in each direction.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    image: int = 224
    pool: int = 3
    classes: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class DeiT:
    """Sizes of the transformer that the paper compares with.

    Attributes:
        depth: Blocks.
        width: Channels.
        heads: Attention heads.
        image: Height and width of the images.
        patch: Height and width of a patch.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    depth: int
    width: int
    heads: int
    image: int = 224
    patch: int = 16
    classes: int = 1000
    seed: int = 0


SMALL, MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)

CONFIGS: Mapping[str, PoolFormer | DeiT] = {
    "s12": PoolFormer((2, 2, 6, 2), SMALL),
    "s24": PoolFormer((4, 4, 12, 4), SMALL),
    "s36": PoolFormer((6, 6, 18, 6), SMALL),
    "m36": PoolFormer((6, 6, 18, 6), MEDIUM),
    "m48": PoolFormer((8, 8, 24, 8), MEDIUM),
    "deit-b": DeiT(12, 768, 12),
    # Of half the width, eight bits change the largest of four almost equal classes in every twentieth picture of noise.
    "tiny": PoolFormer((1, 1, 1, 1), (32, 48, 64, 96), image=64, classes=4),
}

_TABLE = "the authors' public repository, README, table of models (MACs counted with fvcore)"

CARD = Card(
    name=NAME,
    system="63",
    paper="MetaFormer Is Actually What You Need for Vision",
    arxiv="2111.11418",
    says=(
        "abstract: 35 % fewer parameters and 50 % fewer MACs than DeiT-B (PoolFormer-M36)",
        "abstract: 82.1 % top-1 on ImageNet-1K, 0.3 % more than DeiT-B",
    ),
    parts={"main": "images to scores of classes"},
    checks=(
        "the exported network against torch on several batches and image sizes",
        "parameters and MACs of the published sizes, and both against DeiT-B",
    ),
    assumed=(
        "scales of the residual branches are 1 here: trained from 1e-5, they would hide the blocks of random weights",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("s12", _TABLE, 12e6, 1.8e9),
        Published("s24", _TABLE, 21e6, 3.4e9),
        Published("s36", _TABLE, 31e6, 5.0e9),
        Published("m36", _TABLE, 56e6, 8.8e9),
        Published("m48", _TABLE, 73e6, 11.6e9),
        Published(
            "deit-b", "DeiT, arXiv:2012.12877, table 1, and this paper's table of results", 86e6, 17.5e9
        ),
    ),
    structure=(
        "every block mixes pixels by an AveragePool and by nothing else",
        "no product but those over channels: no attention, no depthwise convolution",
    ),
    compared="the same weights in transformers' PoolFormerForImageClassification: scores differ by less than 1e-5",
)


def _whole(config: PoolFormer | DeiT) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._poolformer import network

    return Whole(network(config), (torch.zeros(1, 3, config.image, config.image),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    lost = not_there(graphs, "main")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    assert isinstance(config, PoolFormer)  # noqa: S101 - tells type checkers
    blocks = sum(config.depths)
    lost += too_few(graphs["main"], "AveragePool", blocks, "pooling token mixers")
    found = operators(graphs["main"])
    if found["Softmax"]:
        lost.append("there is attention in a network without any")
    convolutions = 2 * blocks + len(config.depths)
    if found["Conv"] != convolutions:
        lost.append(f"{found['Conv']} convolutions and not {convolutions}: something else mixes pixels")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: PoolFormer | DeiT) -> TorchModel:
    """The classifier of a configuration."""
    from edgepack.exporters.architectures.vision._classifier import classifier
    from edgepack.exporters.architectures.vision._poolformer import network

    return classifier(NAME, network(config), config.image, free=isinstance(config, PoolFormer))
