"""The network of ViG: image to classes through gated linear attention in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks import _linear_attention as linear_attention
from edgepack.exporters.architectures.blocks import _ssm as ssm
from edgepack.exporters.architectures.blocks._image_norm import PixelNorm
from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._patches import image, tokens
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.vig import ViG

_EPS = 1e-6
_SLOWER = 16  # how much less a gate decays than its sigmoid says
_RANK = 16  # of the projection to the gates


class Mixer(torch.nn.Module):
    """Patches mixed along the sequence in both directions, and gated against their neighbourhood in the image."""

    def __init__(self, config: ViG) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.near = torch.nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.qkv = torch.nn.Linear(width, 2 * config.keys + width, bias=False)
        self.decay = torch.nn.Sequential(
            torch.nn.Linear(width, _RANK, bias=False), torch.nn.Linear(_RANK, 2 * config.keys)
        )
        self.gate = torch.nn.Linear(width, width)
        self.far_norm = RMSNorm(width // config.heads, _EPS)
        self.near_norm = RMSNorm(width // config.heads, _EPS)
        self.out = torch.nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, patches, width] in and out; every patch sees all others."""
        config = self.config
        near = self.near(image(x, config.side, config.side))
        near = tokens(torch.nn.functional.silu(near) if config.active else near)
        q, k, v = (
            self._heads(part) for part in self.qkv(near).split([config.keys, config.keys, config.width], -1)
        )
        q = q * (q.shape[-1] ** -0.5 / 2)  # half, for the mean of both directions
        far = torch.zeros_like(v)
        for backward, logits in enumerate(self.decay(near).chunk(2, -1)):
            # -log(sigmoid(x)) = softplus(-x)
            rate = self._heads(ssm.softplus(-logits) * (1 / _SLOWER))
            far = far + linear_attention.attend(q, k, v, rate, chunk=config.chunk, backward=bool(backward))[0]
        gate = self._heads(self.gate(near).sigmoid())
        near, far = self.near_norm(self._heads(near)), self.far_norm(far)
        mixed = (near + (far - near) * gate).flatten(2)
        return self.out(torch.nn.functional.silu(mixed) if config.active else mixed)  # type: ignore[no-any-return]

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], self.config.heads, -1)


class Block(torch.nn.Module):
    """x + mixer(norm x), then x + mlp(norm x)."""

    def __init__(self, config: ViG) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(config.width, _EPS)
        self.mixer = Mixer(config)
        self.mlp_norm = RMSNorm(config.width, _EPS)
        self.mlp = GatedMLP(config.width, config.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """Overlapping patches in two steps, learned positions, blocks, the mean over all patches, classes."""

    def __init__(self, config: ViG) -> None:
        super().__init__()
        half = config.width // 2
        stride = config.patch // 2
        self.patches = torch.nn.Sequential(
            torch.nn.Conv2d(3, half, stride + 1, stride, 1), PixelNorm(half, 1e-5), torch.nn.SiLU(),
            torch.nn.Conv2d(half, config.width, 3, 2, 1), PixelNorm(config.width, 1e-5),
        )  # fmt: skip
        self.positions = torch.nn.Parameter(torch.empty(1, config.side**2, config.width))
        self.blocks = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, _EPS)
        self.classify = torch.nn.Linear(config.width, config.classes)
        initialize(self, config.seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 3, size, size] to [batch, classes]."""
        x = tokens(self.patches(x)) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.classify(self.norm(x).mean(1))  # type: ignore[no-any-return]
