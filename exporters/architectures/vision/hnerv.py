"""Row 48, HNeRV: a video is a network. An embedding of every frame and the decoder that they share are all of it.

A block makes its image s times as large in both directions: a convolution to s^2 w channels, which are then laid out
as pixels. Its channels shrink by r from block to block and its kernel grows, k_i = min(1 + 2 i, 5), so that weights
spread over all blocks; with C channels in front of the first one, in parameters without biases,

    block i    C^2 r^-(2 i + 1) s_i^2 k_i^2,    i = 0, 1, ...

where NeRV, which has r = 2 and k = 3 everywhere, keeps almost all of them in its first block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "hnerv"


@dataclass(frozen=True)
class NeuralVideo:
    """Sizes of one video.

    Attributes:
        frames: How many.
        height: Of a frame, pixels: a multiple of the product of all strides.
        width: Of a frame, pixels: likewise.
        channels: In front of the decoder's first block.
        strides: By which every block of the decoder grows its image, and a stage of the encoder shrinks its own.
        kernels: Of the decoder's blocks.
        reduction: By which channels shrink from block to block.
        least: Fewest channels of a block.
        embedding: Channels of an embedding.
        encoder_width: Channels within the encoder.
        seed: Of the random weights.
    """

    frames: int
    height: int
    width: int
    channels: int
    strides: tuple[int, ...] = (5, 4, 4, 2, 2)
    kernels: tuple[int, ...] = (1, 3, 5, 5, 5)
    reduction: float = 1.2
    least: int = 12
    embedding: int = 16
    encoder_width: int = 64
    seed: int = 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of an embedding."""
        shrunk = math.prod(self.strides)
        return self.height // shrunk, self.width // shrunk

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels in front of every block of the decoder, and behind the last."""
        found = [self.channels]
        for _ in self.strides:
            found.append(max(round(found[-1] / self.reduction), self.least))
        return tuple(found)


CONFIGS = {
    "bunny-1.5m": NeuralVideo(132, 640, 1280, 68),
    "tiny": NeuralVideo(16, 24, 32, 24, (2, 2, 2), (1, 3, 5), least=8, embedding=8, encoder_width=16),
}

CARD = Card(
    name=NAME,
    system="48",
    paper="HNeRV: A Hybrid Neural Representation for Videos",
    arxiv="2304.02633",
    says=(
        "abstract: 4.7 dB more PSNR than implicit representations, and 16 times faster convergence",
        "abstract: decodes faster and deploys more simply than H.264, H.265 and learned codecs",
        "abstract: parameters are evenly distributed over the network, so that layers near the output have more",
    ),
    parts={
        "embeddings": "numbers of frames to what the encoder made of them, the only thing that differs between frames",
        "decoder": "an embedding to a frame",
    },
    checks=(
        "both parts against torch at several batch sizes",
        "looked up and decoded, every frame of the video against the decoder behind the encoder itself",
        "no block of the decoder has more than nine times the weights of another",
    ),
    assumed=(
        "the video is made up: coloured waves, as many frames as the authors' Big Buck Bunny has",
        "weights are random from a fixed seed, not fitted to the video; embeddings are the encoder's of its frames",
        "the encoder is not shipped, as the authors' decoder files have it",
    ),
    published=(Published("bunny-1.5m", "README of the authors' code: HNeRV of 1.5M", parameters=1.5e6),),
    structure=(
        "an embedding for every frame is in the file",
        "a block is a convolution whose channels become pixels; one for every stride",
    ),
    compared=(
        "the authors' code (haochen-rye/HNeRV), 'bunny-1.5m' with the same random weights on two frames: embeddings up "
        "to 3.2 differing by 3.8e-6 at most, frames in 0 to 1 by 2.4e-6; 1 505 172 parameters in both"
    ),
)


def _whole(config: NeuralVideo) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.vision._hnerv import Video

    return Whole(Video(config), (torch.zeros(1, dtype=torch.int64),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few, unshaped

    lost = not_there(graphs, "embeddings", "decoder")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    stored = [
        value.const_value.shape[0]
        for value in graphs["embeddings"].graph.initializers.values()
        if value.const_value is not None and len(value.const_value.shape) > 1
    ]
    if config.frames not in stored or not graphs["embeddings"].graph:
        lost.append(f"embeddings: no table of {config.frames} frames")
    decoder = graphs["decoder"]
    lost += too_few(graphs["embeddings"], "Gather", 1, "embeddings are looked up")
    lost += too_few(decoder, "Conv", len(config.strides) + 2, "the decoder's convolutions")
    lost += too_few(decoder, "DepthToSpace", len(config.strides), "channels that become pixels")
    return lost + unshaped(decoder, frame=("batch", 3, config.height, config.width))


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: NeuralVideo) -> TorchModel:
    """Embeddings, decoder, and how a video is played."""
    from edgepack.exporters.architectures.vision import _hnerv

    return _hnerv.build(config, NAME)
