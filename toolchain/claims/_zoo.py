"""Sides of comparisons: architectures of the zoo with a configuration of the claim's own, and plain transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.architectures._building import one_part
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._attention import SelfAttention
from edgepack.exporters.architectures.blocks._layers import Layer, layers
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.continual_inference import Skeleton
    from edgepack.exporters.sources.base import TorchModel


def zoo(name: str, config: Any) -> TorchModel:
    """An architecture of the zoo, built with any configuration of its type."""
    return architectures.get(name).build(config)


class Bidirectional(torch.nn.Module):
    """BERT's layers without positions: every token sees all others, feed-forward networks of 4 d channels, norms after.

    In parameters 12 d^2 + 13 d a layer.
    """

    def __init__(self, vocabulary: int, width: int, heads: int, count: int) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, width)
        self.layers = torch.nn.ModuleList(
            Layer(
                width,
                SelfAttention(width, heads, bias=True),
                MLP(width, 4 * width),
                torch.nn.LayerNorm,
                "post",
            )
            for _ in range(count)
        )
        initialize(self, 0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary] of ids int64 [batch, sequence], by the embedding's own matrix."""
        x = self.embed(ids)
        for layer in layers(self.layers):
            x = layer(x)
        return torch.nn.functional.linear(x, self.embed.weight)


def bidirectional(vocabulary: int, width: int, heads: int, count: int) -> TorchModel:
    """`Bidirectional` as a model of one part, of any batch and length."""
    return one_part(
        "bidirectional transformer", Bidirectional(vocabulary, width, heads, count), "fill-mask",
        "ids:int64[batch=2,sequence=7]", outputs=["logits"], upper={"ids": vocabulary},
    )  # fmt: skip


def grouped(vocabulary: int, size: str, tokens: int) -> TorchModel:
    """A decoder-only transformer with grouped heads and caches of `tokens` positions, of size "58m" or "tiny"."""
    from edgepack.exporters.architectures.sequence.mmmamba import NAME, MMMamba

    config = (
        MMMamba(61, 32, 48, 8, 4, 2, 8, attention=tuple(range(8)), positions=tokens)
        if size == "tiny"
        else MMMamba(vocabulary, 512, 1712, 12, 8, 4, 64, attention=tuple(range(12)), positions=tokens)
    )
    return zoo(NAME, config)


class Called(torch.nn.Module):
    """A network called by another of its methods.

    Args:
        net: The network.
        method: Which: tensors in and out.
    """

    def __init__(self, net: torch.nn.Module, method: str) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """As that method."""
        return getattr(self.net, self.method)(*inputs)  # type: ignore[no-any-return]


def continual_skeleton(config: Skeleton) -> torch.nn.Module:
    """The network whose steps are `continual-inference`'s part "skeleton"."""
    from edgepack.exporters.architectures.sequence._continual_inference import Step
    from edgepack.exporters.architectures.sequence._continual_networks import SkeletonNetwork

    return Step(SkeletonNetwork(config)).net
