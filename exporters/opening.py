"""Opening the torch model of a source as exporters do: a function of its inputs, its outputs named.

Filed for those below (`toolchain/torch_source.py`), whose compilers begin at torch and not at a graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources import SourceRequest, TorchPart, open_source
from edgepack.toolchain.torch_source import OPENER, TorchOpener, torch_openers

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def open_torch(source: Mapping[str, Any], part: str = "main") -> TorchPart:
    """A part of the torch model of a source given as JSON (`SourceRequest.to_json`), output names filled in.

    Runs the model's own code: call it in a worker process.

    Raises:
        SourceError: There is no torch model behind that source, or it cannot be opened.
    """
    from dataclasses import replace

    from edgepack.exporters._worker import find_part
    from edgepack.exporters.record import record
    from edgepack.exporters.taming import tamed

    found = find_part(tamed(open_source(SourceRequest.from_json(source)).open_torch()), part)
    _, signature = record(found)
    return replace(found, signature=signature)


def torch_program(source: Mapping[str, Any], part: str, sizes: Mapping[str, int]) -> ExportedProgram:
    """The same part as torch.export writes it down at fixed sizes, outputs in the signature's order.

    Runs the model's own code: call it in a worker process.

    Raises:
        SourceError: There is no torch model behind that source, or it cannot be opened.
        ExportError: The source gives no example for an input.
        Exception: Whatever torch.export raises.
    """
    from edgepack.exporters.torch_onnx import at_sizes

    return at_sizes(open_torch(source, part), sizes)


torch_openers.register(OPENER)(TorchOpener(open_torch, torch_program))
