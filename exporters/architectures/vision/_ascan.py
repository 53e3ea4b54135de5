"""AsCAN's two networks: a classifier of four stages, and a denoiser that goes down, and up again mirrored."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import gelu, silu

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._attention import CrossAttention, Pair, SelfAttention
from edgepack.exporters.architectures.blocks._convolution import ConvNorm
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._patches import image, tokens
from edgepack.exporters.architectures.blocks._pooling import PooledClassifier
from edgepack.exporters.architectures.blocks._statistics import give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.ascan import AsymmetricNetworks, Classifier, Denoiser

_RATIO = 4


class ConvBlock(torch.nn.Module):
    """C of the classifier: x + norm W_2 gelu(norm W_1 x), with a 3 x 3 convolution to four times the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = ConvNorm(width, _RATIO * width, 3, activation=gelu)
        self.down = ConvNorm(_RATIO * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x + self.down(self.up(x))  # type: ignore[no-any-return]


class TokenBlock(torch.nn.Module):
    """T: a transformer's layer over all pixels; with cross-attention to a text in the denoiser."""

    def __init__(self, width: int, heads: int, text_width: int = 0) -> None:
        super().__init__()
        cross = CrossAttention(width, heads, memory_width=text_width) if text_width else None
        attention = SelfAttention(width, heads)
        self.layer = Layer(width, attention, MLP(width, _RATIO * width), torch.nn.LayerNorm, cross=cross)

    def forward(self, x: torch.Tensor, text: torch.Tensor | None = None) -> torch.Tensor:
        """[batch, width, rows, columns] in and out."""
        memory: Pair | None = None if text is None else self.layer.cross.keys_values(text)
        return image(self.layer(tokens(x), memory=memory), x.shape[2], x.shape[3])


class ClassifierNetwork(torch.nn.Module):
    """From images [batch, 3, size, size] to scores of classes [batch, classes]."""

    def __init__(self, config: Classifier) -> None:
        super().__init__()
        widths = config.widths
        self.stem = torch.nn.Sequential(
            ConvNorm(3, widths[0], 3, stride=2, activation=gelu), ConvNorm(widths[0], widths[0], 3)
        )
        stages: list[torch.nn.Module] = []
        for before, width, kinds in zip((widths[0], *widths), widths, config.stages, strict=False):
            stages.append(ConvNorm(before, width, 3, stride=2))
            stages += [
                ConvBlock(width) if kind == "C" else TokenBlock(width, width // config.head_width)
                for kind in kinds
            ]
        self.stages = torch.nn.Sequential(*stages)
        self.head = PooledClassifier(widths[-1], config.classes, after=torch.nn.LayerNorm(widths[-1]))
        initialize(self, config.seed)
        give_statistics(self, config.seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of classes."""
        return self.head(self.stages(self.stem(x)))  # type: ignore[no-any-return]


class TimedConvBlock(torch.nn.Module):
    """C of the denoiser: x + W_2 silu(norm(W_1 silu(norm x) + W_t t)), with t the step's embedding."""

    def __init__(self, width: int, groups: int, time_width: int) -> None:
        super().__init__()
        self.first_norm = torch.nn.GroupNorm(groups, width)
        self.first = torch.nn.Conv2d(width, width, 3, 1, 1)
        self.time = torch.nn.Linear(time_width, width)
        self.second_norm = torch.nn.GroupNorm(groups, width)
        self.second = torch.nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The same shape; `time` is [batch, time width]."""
        y = self.first(silu(self.first_norm(x))) + self.time(time)[:, :, None, None]
        return x + self.second(silu(self.second_norm(y)))  # type: ignore[no-any-return]


class DenoiserNetwork(torch.nn.Module):
    """From noisy latents, the step of the noise and a text's vectors to the noise in the latents."""

    frequencies: torch.Tensor

    def __init__(self, config: Denoiser) -> None:
        super().__init__()
        widths, self.config = config.widths, config
        time_width = _RATIO * widths[0]
        frequencies = 10000.0 ** -torch.linspace(0, 1, widths[0] // 2)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time = torch.nn.Sequential(
            torch.nn.Linear(widths[0], time_width), torch.nn.SiLU(), torch.nn.Linear(time_width, time_width)
        )
        self.enter = torch.nn.Conv2d(config.channels, widths[0], 3, 1, 1)

        def level(i: int, kinds: str) -> torch.nn.ModuleList:
            return torch.nn.ModuleList(
                TimedConvBlock(widths[i], config.groups, time_width) if kind == "C"
                else TokenBlock(widths[i], widths[i] // config.head_width, config.text_width)
                for kind in kinds
            )  # fmt: skip

        self.down = torch.nn.ModuleList(level(i, kinds) for i, kinds in enumerate(config.stages))
        self.shrink = torch.nn.ModuleList(
            torch.nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths)
        )
        # Mirrored: the last level first, and within a level the last block first.
        self.up = torch.nn.ModuleList(level(i, kinds[::-1]) for i, kinds in enumerate(config.stages))
        self.grow = torch.nn.ModuleList(torch.nn.Conv2d(b, a, 3, 1, 1) for a, b in itertools.pairwise(widths))
        self.join = torch.nn.ModuleList(torch.nn.Conv2d(2 * width, width, 1) for width in widths)
        self.leave_norm = torch.nn.GroupNorm(config.groups, widths[0])
        self.leave = torch.nn.Conv2d(widths[0], config.channels, 3, 1, 1)
        initialize(self, config.seed)

    def forward(self, latents: torch.Tensor, step: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The noise.

        Args:
            latents: [batch, channels, size, size].
            step: float32 [batch], 0 to 1000.
            text: [batch, words, text width].
        """
        angles = step[:, None] * self.frequencies
        time = silu(self.time(torch.cat([angles.cos(), angles.sin()], -1)))
        x = self.enter(latents)
        kept = []
        for i, blocks in enumerate(self.down):
            x = _through(blocks, self.shrink[i - 1](x) if i else x, time, text)
            kept.append(x)
        for i in reversed(range(len(kept))):
            if i + 1 < len(kept):
                x = self.grow[i](torch.nn.functional.interpolate(x, scale_factor=2.0))
            x = _through(self.up[i], self.join[i](torch.cat([x, kept[i]], 1)), time, text)
        return self.leave(silu(self.leave_norm(x)))  # type: ignore[no-any-return]


def _through(
    blocks: torch.nn.Module, x: torch.Tensor, time: torch.Tensor, text: torch.Tensor
) -> torch.Tensor:
    for block in blocks.children():
        x = block(x, text if isinstance(block, TokenBlock) else time)
    return x


class Networks(torch.nn.Module):
    """Both, for counting."""

    def __init__(self, config: AsymmetricNetworks) -> None:
        super().__init__()
        self.classifier = ClassifierNetwork(config.classifier)
        self.denoiser = DenoiserNetwork(config.denoiser)


def build(config: AsymmetricNetworks, name: str) -> TorchModel:
    """The classifier and the denoiser as parts."""
    nets = Networks(config).eval()
    one, other = config.classifier, config.denoiser
    parts = {
        "classifier": torch_part(
            nets.classifier, f"image:float32[batch=2,3,{one.size},{one.size}]", outputs=["logits"], where=name
        ),
        "denoiser": torch_part(
            nets.denoiser, f"latents:float32[batch=2,{other.channels},{other.size},{other.size}]",
            "step:float32[batch]", f"text:float32[batch,{other.words},{other.text_width}]",
            outputs=["noise"], where=name,
        ),
    }  # fmt: skip
    return TorchModel(parts, facts(name, nets, "image-classification"))
