"""BART's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.language._two_stacks import TwoStacks

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.bart import Bart


class Network(TwoStacks):
    """Both stacks, and the token table that they and the output share."""

    def __init__(self, config: Bart) -> None:
        super().__init__(config, shared=True)
        self.config = config
        initialize(self, config.seed)
