"""CodeRosetta's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import gelu

from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.language._two_stacks import TwoStacks

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.coderosetta import Translator


class Network(TwoStacks):
    """Two RoBERTa stacks and a head."""

    def __init__(self, config: Translator) -> None:
        super().__init__(config, segments=config.segments)
        width = config.width
        self.transform, self.transform_norm = torch.nn.Linear(width, width), torch.nn.LayerNorm(width)
        self.bias = torch.nn.Parameter(torch.zeros(config.vocabulary))
        initialize(self, config.seed)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, by the language model's head."""
        return super().logits(self.transform_norm(gelu(self.transform(x)))) + self.bias
