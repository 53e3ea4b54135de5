"""TokenFormer's network: every projection is an attention to learned tokens, which are kept stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import SelfAttention, into_heads
from edgepack.exporters.architectures.blocks._encoder_decoder import DecoderStack
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotate, rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.tokenformer import TokenFormer

_EPS = 1e-12


class ParameterAttention(torch.nn.Module):
    """From `width` channels to `out` by keys and values that are parameters, one pair of matrices a stage.

    Args:
        width: Channels in.
        out: Channels out.
        slots: Tokens of every stage.
    """

    def __init__(self, width: int, out: int, slots: tuple[int, ...]) -> None:
        super().__init__()
        self.keys = torch.nn.ParameterList(torch.empty(count, width) for count in slots)
        self.values = torch.nn.ParameterList(torch.empty(count, out) for count in slots)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, step, width] to [batch, step, out]."""
        scores = [torch.nn.functional.linear(x, keys) for keys in self.keys]
        total = sum(keys.shape[0] for keys in self.keys)
        squares = torch.stack([part.square().sum(-1) for part in scores]).sum(0)
        scale = torch.rsqrt(squares * (1 / total) + _EPS).unsqueeze(-1)
        mixed = [
            torch.nn.functional.gelu(part * scale) @ values
            for part, values in zip(scores, self.values, strict=True)
        ]
        return torch.stack(mixed).sum(0) if len(mixed) > 1 else mixed[0]


class Three(torch.nn.Module):
    """Queries, keys and values, each by parameters of its own, one after the other."""

    def __init__(self, width: int, slots: tuple[int, ...]) -> None:
        super().__init__()
        self.each = torch.nn.ModuleList(ParameterAttention(width, width, slots) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, step, width] to [batch, step, 3 width]."""
        return torch.cat([one(x) for one in self.each], -1)


class Attention(SelfAttention):
    """Attention between tokens, its four projections to parameters; the first channels of a head are turned.

    Args:
        config: Sizes.
    """

    def __init__(self, config: TokenFormer) -> None:
        super().__init__(config.width, config.heads)
        self.turned = config.turned
        self.qkv = Three(config.width, config.slots)  # type: ignore[assignment]
        self.out = ParameterAttention(config.width, config.width, config.slots)  # type: ignore[assignment]

    def _projected(
        self, x: torch.Tensor, turn: Rotation | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = (into_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        return self._turn(q, turn), self._turn(k, turn), v

    def _turn(self, x: torch.Tensor, turn: Rotation | None) -> torch.Tensor:
        if turn is None:
            return x
        return torch.cat([rotate(x[..., : self.turned], turn), x[..., self.turned :]], -1)


class Network(DecoderStack):
    """A decoder alone, with norms that have no parameters; the token table is the output matrix."""

    def __init__(self, config: TokenFormer) -> None:
        super().__init__()
        self.config = config
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        hidden = tuple(4 * count for count in config.slots)
        self.decoder = torch.nn.ModuleList(
            Layer(
                config.width,
                Attention(config),
                ParameterAttention(config.width, config.width, hidden),
                lambda width: torch.nn.LayerNorm(width, elementwise_affine=False),
            )
            for _ in range(config.layers)
        )
        self.norm = torch.nn.LayerNorm(config.width)
        self._fill()

    def _fill(self) -> None:
        """Random numbers stage by stage, so that a grown network has those of the one that it grew from."""
        stages = [torch.nn.ParameterList() for _ in self.config.slots]
        stages[0].append(self.embed.weight)
        for module in self.modules():
            if isinstance(module, ParameterAttention):
                for stage, keys, values in zip(stages, module.keys, module.values, strict=True):
                    stage.extend([keys, values])
        for number, stage in enumerate(stages):
            initialize(stage, self.config.seed + number)

    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rows of the token table."""
        del positions
        return self.embed(ids)  # type: ignore[no-any-return]

    def turn(self, positions: torch.Tensor, *, reading: bool = False) -> Rotation:
        """Of the turned channels of a head."""
        del reading
        return rotation(positions, self.config.turned)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token."""
        return torch.nn.functional.linear(self.norm(x), self.embed.weight)
