"""The torch model behind a program, opened once more: for compilers that begin there and not at a graph.

Targets need it, exporters know how it is done, and arrows point down: what is asked for is declared here, and exporters
file who does it (`exporters/opening.py`). All of it runs the model's own code, and belongs into a worker process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.export import ExportedProgram

    from edgepack.toolchain.program import Signature


class OpenedPart(Protocol):
    """One callable part of a model in torch."""

    @property
    def module(self) -> torch.nn.Module:
        """In eval mode; called positionally in the signature's order; gives a tensor or a flat tuple of tensors."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, all with names."""

    @property
    def example(self) -> Callable[[Mapping[str, int], int], dict[str, np.ndarray]]:
        """Makes inputs for given sizes of the named dimensions, from a seed."""


@dataclass(frozen=True)
class TorchOpener:
    """Opens torch models.

    Attributes:
        part: From a source given as JSON and a part's name.
        program: The same as torch.export's program at given sizes.
    """

    part: Callable[[Mapping[str, Any], str], OpenedPart]
    program: Callable[[Mapping[str, Any], str, Mapping[str, int]], ExportedProgram]


torch_openers: Registry[TorchOpener] = Registry("opener of torch models", "edgepack.exporters.opening")
OPENER = "source"
"""The name that it is filed by."""


def open_torch(source: Mapping[str, Any], part: str = "main") -> OpenedPart:
    """A part of the torch model of a source given as JSON (`Context.source`).

    Raises:
        SourceError: There is no torch model behind that source, or it cannot be opened.
    """
    return torch_openers.get(OPENER).part(source, part)


def torch_program(source: Mapping[str, Any], part: str, sizes: Mapping[str, int]) -> ExportedProgram:
    """The same part as torch.export writes it down at fixed sizes, outputs in the signature's order.

    Raises:
        SourceError: There is no torch model behind that source, or it cannot be opened.
        ExportError: The source gives no example for an input.
        Exception: Whatever torch.export raises.
    """
    return torch_openers.get(OPENER).program(source, part, sizes)
