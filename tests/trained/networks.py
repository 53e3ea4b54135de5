"""A small convolutional network and a small vision transformer for grey images of 28x28."""

from __future__ import annotations

import torch
from torch import nn

CLASSES, TOKENS = 10, 49


class Convolution(nn.Sequential):
    """A convolution, BatchNorm and ReLU6."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class Separable(nn.Sequential):
    """Depthwise 3x3, then pointwise 1x1 (Howard et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(Convolution(inputs, inputs, 3, stride, inputs), Convolution(inputs, outputs, 1))


class Cnn(nn.Module):
    """A MobileNet of a few separable convolutions.

    Args:
        width: Channels of the stem; what follows has 2 and 4 times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Convolution(1, width, 3, 2),
            Separable(width, 2 * width),
            Separable(2 * width, 4 * width, 2),
            Separable(4 * width, 4 * width),
            Separable(4 * width, 4 * width),
        )
        self.head = nn.Linear(4 * width, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10] of images [n, 1, 28, 28]."""
        logits: torch.Tensor = self.head(self.body(images).mean((2, 3)))
        return logits


class Block(nn.Module):
    """A transformer layer with its normalizations first (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.middle = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens [n, tokens, width] to tokens."""
        n, tokens, width = x.shape
        packed = self.qkv(self.before(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).reshape(n, tokens, width))
        tokens_out: torch.Tensor = x + self.mlp(self.middle(x))
        return tokens_out


class Vit(nn.Module):
    """A vision transformer on patches of 4x4 (Dosovitskiy et al. 2021), mean-pooled.

    Two convolutions make the patches, with which it learns much faster (Xiao et al. 2021).

    Args:
        width: Of a token.
        layers: How many.
        heads: Of the attention.
    """

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(Convolution(1, 16, 3, 2), nn.Conv2d(16, width, 3, 2, 1))
        self.positions = nn.Parameter(0.02 * torch.randn(1, TOKENS, width))
        self.layers = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10] of images [n, 1, 28, 28]."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        logits: torch.Tensor = self.head(self.norm(self.layers(tokens)).mean(1))
        return logits
