"""Row 05, AsCAN: convolutions where images are large, transformers where they are small.

With n pixels of d channels, in multiply-accumulates,

    C  3 x 3 convolution to 4 d channels and back    40 n d^2
    T  attention over all pixels, feed-forward       12 n d^2 + 2 n^2 d

Early stages have many pixels and few channels, where the n^2 of T is most; late ones few pixels and many channels,
where C has three times the weights. So the stages are asymmetric: "C" early, "C" and "T" between, "T" late. The
denoiser is a network of the same two kinds that goes down and, mirrored, up again; its "T" attend to a text as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "ascan"


@dataclass(frozen=True)
class Classifier:
    """Sizes of a classifier.

    Attributes:
        size: Height and width of an image, pixels; a multiple of 32.
        widths: Channels of the four stages.
        stages: Their blocks in turn, "C" or "T".
        head_width: Channels of an attention head.
        classes: Classes.
        seed: Of the random weights.
    """

    size: int
    widths: tuple[int, int, int, int]
    stages: tuple[str, str, str, str]
    head_width: int = 32
    classes: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Denoiser:
    """Sizes of a denoiser.

    Attributes:
        size: Height and width of the latents.
        channels: Of the latents.
        widths: Channels of the levels.
        stages: Their blocks on the way down, "C" or "T".
        text_width: Channels of a text's vectors.
        words: Vectors of a text.
        head_width: Channels of an attention head.
        groups: Of the group normalizations.
        seed: Of the random weights.
    """

    size: int
    channels: int
    widths: tuple[int, ...]
    stages: tuple[str, ...]
    text_width: int
    words: int
    head_width: int = 64
    groups: int = 32
    seed: int = 0


@dataclass(frozen=True)
class AsymmetricNetworks:
    """A classifier and a denoiser."""

    classifier: Classifier
    denoiser: Denoiser


CONFIGS = {
    "small": AsymmetricNetworks(
        Classifier(224, (64, 128, 256, 512), ("CC", "CCC", "CCCTT", "TTTT")),
        Denoiser(64, 4, (128, 256, 512), ("CC", "CT", "TTT"), 768, 77),
    ),
    # 64 pixels leave four to the last stage. One pixel would attend to itself alone, and the classifier would be judged
    # by the int8 rounding of a single one: cosines of 0.995 and two changed classes in 48, here 0.999 and none.
    "tiny": AsymmetricNetworks(
        Classifier(64, (16, 16, 24, 32), ("C", "C", "CT", "T"), 8, classes=4),
        Denoiser(8, 4, (16, 32), ("C", "CT"), 16, 6, 16, 4),
    ),
}

CARD = Card(
    name=NAME,
    system="05",
    paper="AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and Generation",
    arxiv="2411.04967",
    says=(
        "abstract: more convolutional blocks in earlier stages, more transformer blocks in later ones",
        (
            "abstract: a better trade-off between performance and latency in recognition and generation; faster than "
            "works with efficient attention although its own is not optimized"
        ),
        "figure 2: stem, four stages, pooling and classifier; a U-Net whose up blocks are its down blocks reflected",
    ),
    parts={
        "classifier": "an image to scores of classes",
        "denoiser": "noisy latents, the step and a text's vectors to the noise: one step of text-to-image generation",
    },
    checks=(
        "both parts against torch at several batch sizes",
        "no attention in the first two stages of the classifier, none but attention in the last",
    ),
    assumed=(
        "which blocks a stage has, beyond that they are asymmetric, and all widths",
        (
            'a "C" is a fused inverted residual in the classifier and a residual block with the step in the denoiser; '
            'a "T" is a pre-norm layer without positions'
        ),
        "latents, text width and words as in latent diffusion; text encoder and image decoder are not part of it",
        "weights are random from a fixed seed; statistics of normalizations are made up around 0 and 1",
    ),
    unpublished="the abstract and the paper's page give no size, and the paper's tables were not at hand",
    structure=(
        "convolutional blocks early: no attention before the classifier's third stage",
        "transformer blocks late: nothing but attention in its last stage",
        "the denoiser's attention stands in its lower levels, and half of it is to the text",
    ),
    compared=(
        "not run: the paper's page (snap-research.github.io/snap_image) draws the blocks, and no public code of the "
        "authors was found to run"
    ),
)


def _whole(config: AsymmetricNetworks) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._ascan import Networks

    return Whole(Networks(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    lost = not_there(graphs, "classifier", "denoiser")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    one, other = config.classifier.stages, config.denoiser.stages
    order = [n.op_type for n in graphs["classifier"].graph if n.op_type in {"Conv", "Softmax"}]
    blocks = sum(stage.count("T") for stage in one)
    if order.count("Softmax") != blocks:
        lost.append(f"transformer blocks: {order.count('Softmax')} of {blocks} Softmax")
    # Two convolutions a block, one that enters a stage, two of the stem.
    early = 2 + 2 * (len(one[0]) + len(one[1])) + 2
    if "Softmax" in order[:early] or len(order) <= early:
        lost.append("convolutional blocks early: an attention stands before the third stage")
    if "Conv" in order[-one[3].count("T") :]:
        lost.append("transformer blocks late: a convolution stands among the last stage's")
    denoiser = graphs["denoiser"]
    attentions = 2 * 2 * sum(stage.count("T") for stage in other)
    if operators(denoiser)["Softmax"] != attentions:
        lost.append(f"the denoiser: {operators(denoiser)['Softmax']} of {attentions} Softmax")
    return lost + too_few(denoiser, "Resize", len(other) - 1, "the denoiser's way up")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: AsymmetricNetworks) -> TorchModel:
    """The classifier and the denoiser."""
    from edgepack.exporters.architectures.vision import _ascan

    return _ascan.build(config, NAME)
