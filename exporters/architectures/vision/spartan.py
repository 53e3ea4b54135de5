r"""Row 59, SpaRTAN: near and far kernels side by side, and channels that add up as waves.

    spatial    u = W x,  u' = u + g (u - mean u),  W' (weigh(K_1 * u'), weigh(K_2 * K_3 * u'))
    channels   z_c = a_c p_c + a_m p_m,  a = A x,  p = gelu(P x),  m the strongest channel of the pixel
               y = W" weigh(gelu(norm(K * (t z))))

K_2 and K_3 have dilation 2, t is one learned complex number for every two channels of z, and weigh is squeeze and
excitation. In the first half of the stages K_1, K_2 and K_3 are over all channels and K is depthwise; in the second
they are depthwise, and K is over the two channels of a pair. Written in real numbers throughout.
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

NAME = "spartan"


@dataclass(frozen=True)
class SpaRTAN:
    """Sizes of a network.

    Attributes:
        depths: Blocks of every stage.
        widths: Channels of every stage, multiples of 8.
        expansions: Channels of the waves of every stage, in multiples of its width: 2 in the second half.
        image: Height and width of the images that it is counted and traced with; others work as well.
        classes: Scores that come out.
        seed: Of the random weights.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    expansions: tuple[int, ...]
    image: int = 256
    classes: int = 1000
    seed: int = 0


CONFIGS: Mapping[str, SpaRTAN] = {
    "t": SpaRTAN((3, 3, 12, 2), (32, 64, 128, 256), (4, 4, 2, 2)),
    "tiny": SpaRTAN((1, 1), (32, 48), (4, 2), image=32, classes=4),
}

CARD = Card(
    name=NAME,
    system="59",
    paper="SpaRTAN: Spatial Reinforcement Token-based Aggregation Network for Visual Recognition",
    arxiv="2507.10999",
    says=(
        "abstract: 77.7 % top-1 on ImageNet-1k with 3.8 M parameters and approximately 1.0 GFLOPs",
        "counted at 256 x 256, the image size of the authors' public configuration: 1.04 G; at 224 x 224: 0.80 G",
        "abstract: 50.0 % AP on COCO with 21.5 M parameters",
    ),
    parts={"main": "images to scores of classes"},
    checks=("the exported network against torch on several batches and image sizes",),
    assumed=(
        "depths, widths and expansions are those of the authors' public configuration",
        "scales of the residual branches are 1, those against the mean 1/2: trained from 1e-5, they would hide blocks",
        "statistics of the norms and all weights are random from a fixed seed",
    ),
    published=(Published("t", "abstract", 3.8e6),),
    structure=(
        "a kernel of dilation 1 and two of dilation 2 in every block's spatial mixer",
        "the strongest channel of every pixel (ArgMax) in every block's channel mixer, without complex numbers",
    ),
    compared=(
        "the authors' public code, run by hand with the same weights and statistics at images of 64 x 64: scores of "
        "t differ by 2e-6 where the largest is 11, of tiny by 1e-7"
    ),
)


def _whole(config: SpaRTAN) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._spartan import SpaRTANNet

    return Whole(SpaRTANNet(config), (torch.zeros(1, 3, config.image, config.image),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few

    lost = not_there(graphs, "main")
    if lost:
        return lost
    blocks = sum(CONFIGS["tiny"].depths)
    lost += too_few(graphs["main"], "ArgMax", blocks, "strongest channels")
    dilated = 0
    for node in graphs["main"].graph:
        dilations = node.attributes.get("dilations") if node.op_type == "Conv" else None
        dilated += dilations is not None and list(dilations.as_ints()) == [2, 2]
    if dilated != 2 * blocks:
        lost.append(f"{dilated} kernels of dilation 2 and not {2 * blocks}")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: SpaRTAN) -> TorchModel:
    """The classifier of a configuration."""
    from edgepack.exporters.architectures.vision._classifier import classifier
    from edgepack.exporters.architectures.vision._spartan import SpaRTANNet

    return classifier(NAME, SpaRTANNet(config), config.image, free=True)
