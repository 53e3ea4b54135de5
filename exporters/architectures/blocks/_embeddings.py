"""Tokens as vectors: a row of a table a token, plus rows for its position and its segment, then a norm.

    e = norm(token[id] * scale + position[p + first] + segment[s])

with whichever of them an architecture has (BERT has all, arXiv:1810.04805, section 3).
"""

from __future__ import annotations

import torch


class Embeddings(torch.nn.Module):
    """`vocabulary` tokens of `width` channels.

    Args:
        vocabulary: Tokens.
        width: Channels.
        positions: Rows of the table of learned positions; 0 where there is none.
        segments: Rows of the table of segments; 0 where there is none.
        norm: Layer normalization of the sum.
        first: Row of position 0: RoBERTa and BART keep the rows before it for padding.
        scale: Of the token's row.
        eps: Of the norm.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        positions: int = 0,
        segments: int = 0,
        norm: bool = True,
        first: int = 0,
        scale: float = 1.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.token = torch.nn.Embedding(vocabulary, width)
        self.position = torch.nn.Embedding(positions, width) if positions else None
        self.segment = torch.nn.Embedding(segments, width) if segments else None
        self.norm = torch.nn.LayerNorm(width, eps) if norm else torch.nn.Identity()
        self.first, self.scale = first, scale

    def forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Vectors [batch, sequence, width].

        Args:
            ids: int64 [batch, sequence].
            positions: int64 [sequence] or as `ids`; 0, 1, ... where None.
            segments: int64, as `ids`; all 0 where None.
        """
        x = self.token(ids)
        if self.scale != 1.0:
            x = x * self.scale
        if self.position is not None:
            at = torch.arange(ids.shape[1]) if positions is None else positions
            x = x + self.position(at + self.first if self.first else at)
        if self.segment is not None:
            x = x + (self.segment.weight[0] if segments is None else self.segment(segments))
        return self.norm(x)  # type: ignore[no-any-return]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every token, with the token table as the output matrix."""
        return torch.nn.functional.linear(x, self.token.weight)
