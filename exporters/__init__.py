"""Exporters: anything that is a model -> Program."""

from __future__ import annotations

from edgepack.exporters.opening import open_torch, torch_program
from edgepack.exporters.sources import Source, SourceRequest, TorchModel, TorchPart, open_source

__all__ = [
    "Source",
    "SourceRequest",
    "TorchModel",
    "TorchPart",
    "open_source",
    "open_torch",
    "torch_program",
]
