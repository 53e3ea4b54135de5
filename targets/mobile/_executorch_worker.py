"""The process that exports a part with torch and compiles it with ExecuTorch.

    python -m edgepack.targets.mobile._executorch_worker request.json

It writes `model.pte` and `model.pt2` into the request's folder, and answers (`toolchain.answers`) with {"facts": as of
`toolchain.vendors.executorch.Facts`}. It runs the model's own code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.targets.fixed import decided_by_values
from edgepack.toolchain.errors import EdgepackError, TargetError
from edgepack.toolchain.vendors.executorch import EXPORTED_FILE, INSTEAD, METHOD, PROGRAM_FILE, answer

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Open the model, export it at fixed sizes, and compile it.

    Raises:
        SourceError: The model cannot be opened.
        TargetError: torch.export or ExecuTorch does not take it.
    """
    import torch

    from edgepack.toolchain.torch_source import torch_program
    from edgepack.toolchain.vendors import executorch_constants, executorch_gelu, executorch_lowering

    torch.set_num_threads(max(1, request["threads"]))
    folder, part = Path(request["folder"]), request["part"]
    try:
        exported = torch_program(request["source"], part, request["sizes"])
    except EdgepackError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:400]
        raise TargetError(
            f"torch.export cannot write this model down at fixed sizes: {type(error).__name__}: {words}",
            where=f"part {part}",
            todo=INSTEAD,
        ) from error
    _refuse_undecided(exported, request["outputs"], part)
    exported = executorch_constants.folded(exported)
    executorch_gelu.written_out(exported)
    torch.export.save(exported, folder / EXPORTED_FILE)
    return executorch_lowering.write({METHOD: exported}, folder / PROGRAM_FILE, part)


def _refuse_undecided(exported: ExportedProgram, names: Sequence[str], part: str) -> None:
    """Raise TargetError for an output whose size the values of the inputs decide, not their sizes."""
    values = {node.name: node.meta.get("val") for node in exported.graph_module.graph.nodes}
    for name, made in zip(names, exported.graph_signature.user_outputs, strict=True):
        shape = getattr(values.get(str(made)), "shape", ())
        for axis, size in enumerate(shape):
            if not isinstance(size, int):
                raise decided_by_values(name, axis, "mobile:executorch", f"part {part}")


if __name__ == "__main__":
    answer(sys.argv[1], work)
