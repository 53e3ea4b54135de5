r"""Row 30, UniRepLKNet: few, large depthwise kernels, for pictures, spectrograms and series.

    y = x + s norm(W_2 response(gelu(W_1 excite(norm(K * x)))))

with K of 13 x 13 in some blocks and 3 x 3 in the others. A large K is trained as a sum of convolutions with norms of
their own, among them dilated ones; all that is linear between two activations is merged before export, so that K
ships as one convolution. A spectrogram is an image of one channel. So is a series, whose every step a product turns
into a row of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "unireplknet"


@dataclass(frozen=True)
class UniRepLKNet:
    """Sizes of a network.

    Attributes:
        depths: Blocks of every stage.
        widths: Channels of every stage.
        kernels: Sizes of the depthwise kernels of every stage, repeated over its blocks.
        kind: What it reads.
        sizes: Height and width of the images, frames and bands of the spectrograms, or length of the series and
            the pixels that each of its steps becomes.
        classes: Scores that come out of pictures and spectrograms.
        variables: Of a series.
        horizon: Steps of a series that are forecast.
        merged: Ship one convolution for the branches that are trained.
        seed: Of the random weights.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...] = ((3,), (13,), (13,), (13,))
    kind: Literal["image", "audio", "series"] = "image"
    sizes: tuple[int, int] = (224, 224)
    classes: int = 1000
    variables: int = 0
    horizon: int = 0
    merged: bool = True
    seed: int = 0


_DEPTHS = (2, 2, 6, 2)
_SMALL = UniRepLKNet((3, 3, 27, 3), (96, 192, 384, 768), ((3,), (13,), (13, 3, 3), (13,)))
# Narrower, or with four classes, eight bits change the largest of almost equal ones in every twentieth picture.
_TINY = UniRepLKNet(
    (1, 1, 2, 1), (48, 64, 64, 96), ((3,), (13,), (7, 3), (7,)), sizes=(64, 64), classes=2, seed=3
)

CONFIGS: Mapping[str, UniRepLKNet] = {
    "a": UniRepLKNet(_DEPTHS, (40, 80, 160, 320)),
    "f": UniRepLKNet(_DEPTHS, (48, 96, 192, 384)),
    "p": UniRepLKNet(_DEPTHS, (64, 128, 256, 512)),
    "n": UniRepLKNet((2, 2, 8, 2), (80, 160, 320, 640)),
    "t": UniRepLKNet((3, 3, 18, 3), (80, 160, 320, 640), ((3,), (13,), (13, 3), (13,))),
    "s": _SMALL,
    "s-audio": replace(_SMALL, kind="audio", sizes=(128, 128), classes=35),
    "s-series": replace(_SMALL, kind="series", sizes=(192, 192), variables=3, horizon=24),
    "tiny": _TINY,
    "tiny-branches": replace(_TINY, merged=False),
    "tiny-audio": replace(_TINY, kind="audio", sizes=(64, 32)),
    "tiny-series": replace(_TINY, kind="series", sizes=(48, 32), variables=3, horizon=4),
}

_TABLE = "the authors' public repository, README, ImageNet-1K"

CARD = Card(
    name=NAME,
    system="30",
    paper="UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video, Point Cloud, Time-Series and "
    "Image Recognition",
    arxiv="2311.15599",
    says=(
        "abstract: 88.0 % top-1 on ImageNet (the largest size)",
        "arXiv:2410.08049, abstract: faster inference than vision transformers",
        "README of the authors' public repository: 0.6 GFLOPs for A, to one digit; 0.64 G are counted",
        "audio and time series with the same network after a preprocessing that makes images of them",
    ),
    parts={"main": "images or spectrograms to scores of classes, or a series to its next steps"},
    checks=(
        "the exported network, with merged branches, against torch with the branches that are trained",
        "merged and unmerged graphs: equal outputs, fewer nodes",
    ),
    assumed=(
        "a series becomes an image by one product a step; the authors' public code has another embedding",
        "a series is forecast from the pooled image; the authors' public code has that forecaster's decoders",
        "scales of the residual branches are 1 here, statistics of the norms are random",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("a", _TABLE, 4.4e6),
        Published("f", _TABLE, 6.2e6, 0.9e9),
        Published("p", _TABLE, 10.7e6, 1.6e9),
        Published("n", _TABLE, 18.3e6, 2.8e9),
        Published("t", _TABLE, 31e6, 4.9e9),
        Published("s", _TABLE, 56e6, 9.1e9),
    ),
    structure=(
        "one depthwise convolution in every block, as large as the largest of its branches",
        "no batch normalization, no dilation",
    ),
    compared=(
        "the authors' public code, run by hand with the same weights and statistics: scores of A and T differ by "
        "less than 1e-6, with branches and merged, at images of 64 x 64"
    ),
)


def _whole(config: UniRepLKNet) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._unireplknet import UniRepLKNetwork

    net = UniRepLKNetwork(config)
    shapes = {
        "image": (3, *config.sizes),
        "audio": config.sizes,
        "series": (config.sizes[0], config.variables),
    }
    return Whole(net.merged() if config.merged else net, (torch.zeros(1, *shapes[config.kind]),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators

    lost = not_there(graphs, "main")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    wanted = [
        kernels[i % len(kernels)]
        for kernels, depth in zip(config.kernels, config.depths, strict=True)
        for i in range(depth)
    ]
    found = []
    for node in graphs["main"].graph:
        weight = node.inputs[1] if node.op_type == "Conv" else None
        if weight is not None and weight.shape is not None and weight.shape[1] == 1:
            found.append(weight.shape[2])
            dilations = node.attributes.get("dilations")
            if dilations is not None and any(one > 1 for one in dilations.as_ints()):
                lost.append("a dilated branch was not merged")
    if found != wanted:
        lost.append(f"depthwise kernels are {found} and not {wanted}")
    if operators(graphs["main"])["BatchNormalization"]:
        lost.append("a batch normalization was not merged")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: UniRepLKNet) -> TorchModel:
    """The network of a configuration; merged ones are compared with the network as it is trained."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._unireplknet import UniRepLKNetwork

    trained = UniRepLKNetwork(config).eval()
    first, second = config.sizes
    inputs, outputs, task = {
        "image": (
            f"pixel_values:float32[batch=2,3,height={first},width={second}]",
            "logits",
            "image-classification",
        ),
        "audio": (f"spectrogram:float32[batch=2,{first},{second}]", "logits", "audio-classification"),
        "series": (
            f"series:float32[batch=2,{first},{config.variables}]",
            "forecast",
            "time-series-forecasting",
        ),
    }[config.kind]
    return one_part(
        NAME, trained.merged() if config.merged else trained, task, inputs, outputs=[outputs],
        reference=trained if config.merged else None,
        size_sets=[{"batch": 1, "height": first, "width": second},
                   {"batch": 3, "height": first + 31, "width": second // 2}] if config.kind == "image" else (),
    )  # fmt: skip
