"""HNeRV: an encoder that makes an embedding of every frame, once, and the decoder that is shipped with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import gelu

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._image_norm import PixelNorm
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.hnerv import NeuralVideo


class EncoderBlock(torch.nn.Module):
    """x + scale * W_2 gelu(W_1 norm(depthwise x)): Z. Liu et al., ConvNeXt, arXiv:2201.03545, section 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(width, width, 7, 1, 3, groups=width)
        self.norm = PixelNorm(width)
        self.up = torch.nn.Conv2d(width, 4 * width, 1)
        self.down = torch.nn.Conv2d(4 * width, width, 1)
        self.scale = torch.nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x + self.scale * self.down(gelu(self.up(self.norm(self.mix(x)))))  # type: ignore[no-any-return]


class Encoder(torch.nn.Sequential):
    """From a frame to its embedding: a strided convolution and a block for every stride."""

    def __init__(self, config: NeuralVideo) -> None:
        last = len(config.strides) - 1
        stages: list[torch.nn.Module] = []
        channels = 3
        for i, stride in enumerate(config.strides):
            width = config.embedding if i == last else config.encoder_width
            shrink = torch.nn.Conv2d(channels, width, stride, stride)
            stages += [PixelNorm(channels), shrink] if i else [shrink, PixelNorm(width)]
            stages.append(EncoderBlock(width))
            channels = width
        super().__init__(*stages)


class Decoder(torch.nn.Module):
    """From embeddings [batch, embedding, rows, columns] to frames [batch, 3, height, width] of values in 0 to 1."""

    def __init__(self, config: NeuralVideo) -> None:
        super().__init__()
        widths = config.widths
        self.enter = torch.nn.Conv2d(config.embedding, widths[0], 1)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Conv2d(before, width * stride**2, kernel, 1, kernel // 2),
                torch.nn.PixelShuffle(stride),
                torch.nn.GELU(),
            )
            for before, width, stride, kernel in zip(
                widths, widths[1:], config.strides, config.kernels, strict=False
            )
        )
        self.colour = torch.nn.Conv2d(widths[-1], 3, 3, 1, 1)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Frames."""
        x = gelu(self.enter(embedding))
        for block in self.blocks:
            x = block(x)
        return self.colour(x).tanh() * 0.5 + 0.5  # type: ignore[no-any-return]


class Video(torch.nn.Module):
    """What is shipped: an embedding of every frame, and the decoder."""

    def __init__(self, config: NeuralVideo) -> None:
        super().__init__()
        rows, columns = config.grid
        self.table = torch.nn.Parameter(torch.zeros(config.frames, config.embedding * rows * columns))
        self.grid = (config.embedding, rows, columns)
        self.decoder = Decoder(config)
        initialize(self, config.seed)

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """Frames by number, int64 [batch]."""
        return self.decoder(self.embeddings(index))  # type: ignore[no-any-return]

    def embeddings(self, index: torch.Tensor) -> torch.Tensor:
        """What the encoder made of frames, by number."""
        return torch.nn.functional.embedding(index, self.table).reshape(-1, *self.grid)


class Embeddings(torch.nn.Module):
    """The part that looks embeddings up."""

    def __init__(self, video: Video) -> None:
        super().__init__()
        self.video = video

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """From numbers of frames, int64 [batch]."""
        return self.video.embeddings(index)


def scene(config: NeuralVideo, index: torch.Tensor) -> torch.Tensor:
    """Frames of a made-up video: coloured waves that wander; [batch, 3, height, width] of values in 0 to 1."""
    y = torch.linspace(0, 1, config.height)[:, None]
    x = torch.linspace(0, 1, config.width)
    time = index.to(torch.float32)[:, None, None, None] / config.frames
    pitch = torch.tensor([7.0, 11.0, 17.0])[:, None, None]
    return (pitch * (x + time) + 9 * (y - time) * (x - 0.5)).sin() * 0.5 + 0.5


def record(video: Video, encoder: Encoder, config: NeuralVideo) -> None:
    """Puts the embedding of every frame of the scene into the table."""
    with torch.no_grad():
        for i in range(config.frames):
            video.table[i] = encoder(scene(config, torch.tensor([i])))[0].flatten()


def build(config: NeuralVideo, name: str) -> TorchModel:
    """The video as a table of embeddings and a decoder, and the encoder's own frames to compare with."""
    encoder = Encoder(config).eval()
    initialize(encoder, config.seed + 1)
    video = Video(config).eval()
    record(video, encoder, config)
    rows, columns = config.grid
    parts = {
        "embeddings": torch_part(
            Embeddings(video), "index:int64[batch=2]", outputs=["embedding"], where=name,
            upper={"index": config.frames},
        ),
        "decoder": torch_part(
            video.decoder, f"embedding:float32[batch=2,{config.embedding},{rows},{columns}]",
            outputs=["frame"], where=name,
        ),
    }  # fmt: skip

    def rollout() -> list[Call]:
        calls = []
        for i in range(config.frames):
            index = torch.tensor([i])
            with torch.no_grad():
                embedding = encoder(scene(config, index))
                frame = video.decoder(embedding)
            calls.append(Call("embeddings", {"index": index.numpy()}, {"embedding": embedding.numpy()}))
            calls.append(Call("decoder", {}, {"frame": frame.numpy()}))
        return calls

    link = StateLink("embeddings", "embedding", "decoder", "embedding")
    return TorchModel(parts, facts(name, video, "video-decoding"), links=(link,), rollout=rollout)
