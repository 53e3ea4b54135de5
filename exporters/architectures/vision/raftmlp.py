r"""Row 45, RaftMLP: an MLP mixer that mixes along columns, then along rows, then over channels.

For an image of C channels, split into r groups whose i-th channels travel together on a raft,

    x'[g, :, w] = x[g, :, w] + W_2 gelu(W_1 norm x[g, :, w])      over r H numbers: a column of r channels
    x"[g, h, :]  likewise over r W numbers                         then over the C channels of every pixel

so that token mixing costs 2 e r (H + W) H W C multiplications instead of 2 e (H W)^2 C (e the expansion). The
weights belong to one image size. For another one they are interpolated, as functions of the place, before export.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "raftmlp"


@dataclass(frozen=True)
class RaftMLP:
    """Sizes of a network.

    Attributes:
        depths: Blocks of every level.
        widths: Channels of every level.
        patches: Sizes of the patches that every level embeds together; the smallest is what the image shrinks by.
        image: Height and width of the images.
        trained: Height and width that the weights were made for, where they are interpolated to `image`.
        raft: Channels that are mixed together.
        token_expansion: Hidden units of the token mixers, in multiples of what goes in.
        channel_expansion: Hidden units of the channel MLPs, likewise.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    patches: tuple[tuple[int, ...], ...] = ((4, 8), (2, 4), (2, 4), (2,))
    image: int = 224
    trained: int | None = None
    raft: int = 2
    token_expansion: int = 2
    channel_expansion: int = 4
    classes: int = 1000
    seed: int = 0

    def sides(self, image: int) -> list[int]:
        """Height and width of every level."""
        shrunk = [min(sizes) for sizes in self.patches]
        return [image // math.prod(shrunk[: level + 1]) for level in range(len(shrunk))]


_DEPTHS = (2, 2, 6, 2)
_SMALL = RaftMLP(_DEPTHS, (64, 128, 256, 512))
_TINY = RaftMLP((1, 1), (16, 32), ((4, 8), (2,)), image=32, classes=4)

CONFIGS: Mapping[str, RaftMLP] = {
    "s": _SMALL,
    "m": RaftMLP(_DEPTHS, (96, 192, 384, 768)),
    "l": RaftMLP(_DEPTHS, (128, 192, 512, 1024)),
    "s-256": replace(_SMALL, image=256, trained=224),
    "tiny": _TINY,
    "tiny-48": replace(_TINY, image=48, trained=32),
}

_CODE = "the authors' network with its configuration raft-mlp-cross-mlp-emb-{}, its parameters counted"
_TABLE = "the paper's table of ImageNet results"

CARD = Card(
    name=NAME,
    system="45",
    paper="RaftMLP: How Much Can Be Done Without Attention and with Less Spatial Locality?",
    arxiv="2108.04384",
    says=(
        "abstract: fewer parameters and less computation than MLP-Mixer, with higher accuracy",
        "abstract: token mixing divided into vertical and horizontal; other image sizes by bicubic interpolation",
    ),
    parts={"main": "images of one size to scores of classes"},
    checks=(
        "the exported network against torch on several batches",
        "weights interpolated to another image size: the same outputs on the same smooth image",
    ),
    assumed=(
        "weights are interpolated once, before export; the authors' public code resizes images around the mixers",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("s", _CODE.format("s"), parameters=9_868_768),
        Published("m", _CODE.format("m"), parameters=21_413_632),
        Published("l", _CODE.format("l"), parameters=36_184_672),
        Published("s", _TABLE, macs=2.1e9),
        Published("m", _TABLE, macs=4.3e9),
        Published("l", _TABLE, macs=6.5e9),
    ),
    structure=(
        "every block mixes along columns by one product and along rows by another",
        "nothing is resized at run time: the weights of another image size are constants",
    ),
    compared=(
        "the authors' public code, run by hand with the same weights at their image size: scores of s differ by "
        "7e-7, of tiny by 2e-7 (gains of the token mixers' norms in another order there)"
    ),
)


def _whole(config: RaftMLP) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._raftmlp import RaftMLPNet

    return Whole(RaftMLPNet(config), (torch.zeros(1, 3, config.image, config.image),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators

    lost = not_there(graphs, "main")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    blocks = sum(config.depths)
    found = [node for node in graphs["main"].graph if node.op_type == "Concat"]
    axes = [node.attributes["axis"].as_int() for node in found]
    for axis, name in [(2, "columns"), (3, "rows")]:
        if axes.count(axis) != blocks:
            lost.append(f"rafts are put side by side along {name} {axes.count(axis)} times and not {blocks}")
    counts = operators(graphs["main"])
    if counts["Resize"] or counts["Softmax"]:
        lost.append("something is resized or attended to at run time")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: RaftMLP) -> TorchModel:
    """The classifier of a configuration."""
    from edgepack.exporters.architectures.vision._classifier import classifier
    from edgepack.exporters.architectures.vision._raftmlp import RaftMLPNet

    return classifier(NAME, RaftMLPNet(config), config.image, free=False)
