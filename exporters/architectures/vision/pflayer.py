r"""Row 25, PfLayer: the maximum over neighbouring pixels in place of a learned spatial layer.

    y = relu(x + norm(W_2 max_3x3(relu(norm(W_1 x)))))

The bottleneck of a residual network keeps its products over channels and learns nothing over pixels. The hybrid form
keeps a convolution where the image shrinks; vision transformers have the maximum in place of every other attention.
The trainable counterpart is the depthwise convolution: 9 C parameters more with its norm's 2 C, and slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "pflayer"
Spatial: TypeAlias = Literal["convolution", "depthwise", "max", "hybrid"]


@dataclass(frozen=True)
class PooledResNet:
    """Sizes of a residual network.

    Attributes:
        spatial: What the bottlenecks mix pixels with; "hybrid": a convolution where the image shrinks, else "max".
        depths: Bottlenecks of every stage.
        widths: Channels within the bottlenecks of every stage.
        image: Height and width of the images that it is counted and traced with; others work as well.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    spatial: Spatial
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    image: int = 224
    classes: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class PooledTransformer:
    """Sizes of a vision transformer.

    Attributes:
        pooled: Every other block with the maximum over neighbours in place of attention.
        depth: Blocks.
        width: Channels.
        heads: Attention heads.
        image: Height and width of the images.
        patch: Height and width of a patch.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    pooled: bool
    depth: int = 12
    width: int = 384
    heads: int = 6
    image: int = 224
    patch: int = 16
    classes: int = 1000
    seed: int = 0


_TINY = PooledResNet("hybrid", (2, 2), (8, 16), 64, 4)
_TINY_TRANSFORMER = PooledTransformer(pooled=True, depth=2, width=16, heads=2, image=32, patch=8, classes=4)

CONFIGS: Mapping[str, PooledResNet | PooledTransformer] = {
    "r50-max": PooledResNet("max"),
    "r50-hybrid": PooledResNet("hybrid"),
    "r50": PooledResNet("convolution"),
    "r50-depthwise": PooledResNet("depthwise"),
    "vit-s-max": PooledTransformer(pooled=True),
    "vit-s": PooledTransformer(pooled=False),
    "tiny": _TINY,
    "tiny-max": replace(_TINY, spatial="max"),
    "tiny-depthwise": replace(_TINY, spatial="depthwise"),
    "tiny-transformer": _TINY_TRANSFORMER,
}

_TABLE = "the authors' public repository, README, table of residual networks"

CARD = Card(
    name=NAME,
    system="25",
    paper="Learning Features with Parameter-Free Layers",
    arxiv="2202.02777",
    says=(
        "abstract: fewer parameters, fewer FLOPs and faster than with trainable spatial layers",
        f"{_TABLE}: 8.7 ms for R50, 6.8 ms for R50-max, 7.3 ms for R50-hybrid, on a GPU",
    ),
    parts={"main": "images to scores of classes"},
    checks=(
        "the exported network against torch on several batches and image sizes",
        "the pooled form has fewer parameters and MACs than the one with depthwise convolutions",
    ),
    assumed=("statistics of the norms and all weights are random from a fixed seed",),
    published=(
        Published("r50-max", _TABLE, 14.2e6, 2.2e9),
        Published("r50-hybrid", _TABLE, 17.3e6, 2.6e9),
        Published("r50", _TABLE, 25.6e6, 4.1e9),
    ),
    structure=(
        "a MaxPool of 3 x 3 and stride 1 in every bottleneck that keeps the image's size, and no convolution there",
        "a convolution of 3 x 3 only where the image shrinks",
    ),
    compared=(
        "the authors' public code, run by hand with the same weights and statistics: scores of R50, R50-max and "
        "R50-hybrid are equal bit by bit, of ViT-S-max (its attention, which is another library's, rewritten) to 5e-7"
    ),
)


def _whole(config: PooledResNet | PooledTransformer) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole

    return Whole(_network(config), (torch.zeros(1, 3, config.image, config.image),))


def _network(config: PooledResNet | PooledTransformer) -> torch.nn.Module:
    from edgepack.exporters.architectures.vision import _pflayer as nets

    return nets.ResNet(config) if isinstance(config, PooledResNet) else nets.transformer(config)


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there

    lost = not_there(graphs, "main")
    if lost:
        return lost
    shrinking = len(_TINY.depths) - 1
    pooled = sum(_TINY.depths) - shrinking
    pools = spatial = 0
    for node in graphs["main"].graph:
        if node.op_type == "MaxPool":
            strides = node.attributes.get("strides")
            pools += strides is None or list(strides.as_ints()) == [1, 1]
        weight = node.inputs[1] if node.op_type == "Conv" else None
        if weight is not None and weight.shape is not None and weight.shape[2] == 3:  # noqa: PLR2004 - 3 x 3
            spatial += 1
    if pools != pooled:
        lost.append(f"{pools} bottlenecks pool and not {pooled}")
    if spatial != shrinking:
        lost.append(f"{spatial} convolutions of 3 x 3 and not {shrinking}")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: PooledResNet | PooledTransformer) -> TorchModel:
    """The classifier of a configuration."""
    from edgepack.exporters.architectures.vision._classifier import classifier

    return classifier(NAME, _network(config), config.image, free=isinstance(config, PooledResNet))
