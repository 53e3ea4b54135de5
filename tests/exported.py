"""A model's program as the pipeline has it: exported, recorded, and cleaned up."""

from __future__ import annotations

from pathlib import Path

from edgepack.exporters import SourceRequest
from edgepack.exporters._worker import export_model
from edgepack.exporters.sources import open_source
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.program import Part, Program


def exported(source: SourceRequest, folder: Path) -> Program:
    """Export a source into `folder`, and clean its graphs up."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    export_model(open_source(source).open_torch(), raw)
    program = Program.load(raw)
    parts = {}
    for part in program:
        model = part.model()
        clean_up(model)
        path = save(model, folder, part.name)
        parts[part.name] = Part(part.name, path, part.signature, part.cases, part.sizes, part.initial)
    return Program(parts, program.links, program.source, program.notes, program.rollout)
