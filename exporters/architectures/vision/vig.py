r"""Row 87, "ViG": an image classifier that mixes patches by gated linear attention in both directions.

With x' the patches after a depthwise 3 x 3 convolution over the image, q, k, v projections of it, r > 0 decays of
every key channel, one set for each direction (`blocks/_linear_attention.py`), and g a gate:

    far  = (forward(q, k, v, r_forward) + backward(q, k, v, r_backward)) / 2
    y    = W (g norm(far) + (1 - g) norm(x'))

Both directions share q, k and v; what is near in two dimensions comes in by the gate. The cost is linear in patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Growth, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "vig"


@dataclass(frozen=True)
class ViG:
    """Sizes of one network.

    Attributes:
        width: Channels.
        heads: Of the linear attention.
        hidden: Channels within the feed-forward network.
        layers: Blocks.
        active: Whether a SiLU follows the convolution and the gate; the authors' smallest model has it.
        size: Pixels of a side of the image.
        patch: Pixels from one patch to the next.
        classes: Of the classifier.
        chunk: Patches that are computed as one product.
        seed: Of the random weights.
    """

    width: int
    heads: int
    hidden: int
    layers: int = 12
    active: bool = False
    size: int = 224
    patch: int = 16
    classes: int = 1000
    chunk: int = 49
    seed: int = 0

    @property
    def side(self) -> int:
        """Patches along a side of the image."""
        return self.size // self.patch

    @property
    def keys(self) -> int:
        """Channels of all heads' keys: half of those of the values."""
        return self.width // 2


CONFIGS = {
    "vig-s": ViG(384, 6, 1024),
    "vig-b": ViG(768, 12, 2048),
    "vig-t": ViG(192, 3, 512, active=True),
    "vig-t-1024": ViG(192, 3, 512, active=True, size=1024, chunk=64),
    "tiny": ViG(32, 2, 48, layers=2, active=True, size=32, patch=8, classes=10, chunk=4),
}

CARD = Card(
    name=NAME,
    system="87",
    paper="ViG: Linear-complexity Visual Sequence Learning with Gated Linear Attention",
    arxiv="2405.18425",
    says=(
        "abstract: at 1024 x 1024 5.2x fewer FLOPs, 90 % less memory and 4.8x faster than DeiT-T",
        "abstract: ViG-S has 27 % of the parameters and 20 % of the FLOPs of DeiT-B and is 2x faster at 224 x 224",
        "the authors' model list: ViG-T 6M parameters, ViG-S 23M, ViG-B 89M",
    ),
    parts={"main": "an image to scores of classes"},
    checks=(
        "the chunked attention against its recurrence, in both directions",
        "directions that differ by their decays only; every patch sees all others",
        "multiply-accumulates in proportion to the number of patches",
    ),
    assumed=(
        "images of one size: the authors stretch learned positions to others",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("vig-s", "the authors' model list: 23M", 23e6),
        Published("vig-b", "the authors' model list: 89M", 89e6),
    ),
    structure=(
        "attention in both directions as products of matrices, without a softmax and without reversing anything",
        "a depthwise 3 x 3 convolution over the image in every block, and the gate that mixes it in",
    ),
    growth=(
        Growth(
            "vig",
            "multiply-accumulates",
            1.01,
            1.56,
            (384, 512, 768, 1024),
            "pixels of a side, the exponent over pixels",
            "edgepack claims vig",
        ),
    ),
    compared=(
        "the authors' network (hustvl/ViG), its GPU kernels replaced by the recurrence in plain torch: as many "
        "parameters in all four sizes (ViG-T has 5.83M, which their list rounds to 6M); with the same weights the "
        "scores of ViG-T, up to 1.4, differ by less than 5e-7; run by hand"
    ),
)


def _whole(config: ViG) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._vig import Network

    return Whole(Network(config), (torch.empty(1, 3, config.size, config.size),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import operators, too_few

    config = CONFIGS["tiny"]
    # Of one direction: sums, scores, inside, ends, between and way out; then seven projections.
    lost = too_few(graphs["main"], "MatMul", config.layers * (2 * 6 + 6), "products of both directions")
    lost += too_few(graphs["main"], "Conv", 2 + config.layers, "convolutions over the image")
    found = operators(graphs["main"])
    return lost + [
        f"{found[name]} {name}" for name in ("Softmax", "Scan", "Loop", "ReverseSequence") if found[name]
    ]


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: ViG) -> TorchModel:
    """The single part of a configuration."""
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.vision._vig import Network

    return one_part(
        NAME, Network(config), "image-classification", f"image:float32[batch=2,3,{config.size},{config.size}]",
        outputs=["scores"],
    )  # fmt: skip
