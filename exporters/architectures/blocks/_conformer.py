r"""The Conformer layer: half a feed-forward network, attention, a convolution, the other half, a norm.

    x += ff(x) / 2;   x += attention(norm x);   x += convolution(norm x);   x += ff(x) / 2;   x = norm x
    ff(x) = W' silu(W norm x),   convolution(x) = W'' silu(norm(depthwise(glu(W x))))

A. Gulati et al., Conformer, arXiv:2005.08100, section 2. The depthwise convolution is centred, with a batch norm, or
causal with a layer norm, which is of each frame by itself: then a frame of a stream needs kernel - 1 frames of past.
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._attention import Pair
from edgepack.exporters.architectures.blocks._relative import RelativeAttention


class HalfFeedForward(torch.nn.Module):
    """x + W' silu(W norm x) / 2."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, hidden)
        self.down = torch.nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x + 0.5 * self.down(torch.nn.functional.silu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class ConvolutionModule(torch.nn.Module):
    """`width` channels in and out; pointwise convolutions are products of matrices."""

    def __init__(self, width: int, kernel: int, *, causal: bool) -> None:
        super().__init__()
        self.kernel, self.causal = kernel, causal
        self.gated = torch.nn.Linear(width, 2 * width)
        self.depthwise = torch.nn.Conv2d(width, width, (1, kernel), groups=width)
        self.norm: torch.nn.Module = torch.nn.LayerNorm(width) if causal else torch.nn.BatchNorm2d(width)
        self.out = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor, tail: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, step, width] in and out.

        Args:
            x: New frames.
            tail: What came before them: the last value, [batch, width, 1, kernel - 1]. None for zeros.

        Returns:
            As `x`, and the new tail.
        """
        # Sequences lie along the last axis of an image of one row: four dimensions are what accelerators take.
        image = torch.nn.functional.glu(self.gated(x), -1).transpose(1, 2).unsqueeze(2)
        if tail is not None:
            image = torch.cat([tail, image], -1)
        else:
            before = self.kernel - 1 if self.causal else self.kernel // 2
            image = torch.nn.functional.pad(image, (before, self.kernel - 1 - before))
        tail = image[..., 1 - self.kernel :]
        mixed = self.depthwise(image)
        if not self.causal:
            mixed = self.norm(mixed)
        mixed = mixed.squeeze(2).transpose(1, 2)
        if self.causal:
            mixed = self.norm(mixed)
        return self.out(torch.nn.functional.silu(mixed)), tail


class ConformerLayer(torch.nn.Module):
    """See above; `hidden` channels within the feed-forward networks."""

    def __init__(self, width: int, heads: int, hidden: int, kernel: int, *, causal: bool = False) -> None:
        super().__init__()
        self.first = HalfFeedForward(width, hidden)
        self.attention_norm = torch.nn.LayerNorm(width)
        self.attention = RelativeAttention(width, heads)
        self.convolution_norm = torch.nn.LayerNorm(width)
        self.convolution = ConvolutionModule(width, kernel, causal=causal)
        self.second = HalfFeedForward(width, hidden)
        self.norm = torch.nn.LayerNorm(width)

    def forward(
        self,
        x: torch.Tensor,
        far: torch.Tensor,
        mask: torch.Tensor | None = None,
        past: Pair | None = None,
        tail: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Pair, torch.Tensor]:
        """Arguments as `RelativeAttention` and `ConvolutionModule` have them; returns what both return."""
        x = self.first(x)
        mixed, past = self.attention(self.attention_norm(x), far, mask, past)
        x = x + mixed
        mixed, tail = self.convolution(self.convolution_norm(x), tail)
        return self.norm(self.second(x + mixed)), past, tail
