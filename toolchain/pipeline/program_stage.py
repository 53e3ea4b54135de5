"""From the source to a verified, cleaned program in the cache."""

from __future__ import annotations

import time
from pathlib import Path

from edgepack.exporters.sources import Source
from edgepack.toolchain.errors import EdgepackError, not_finite
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.workbench import Workbench, versions
from edgepack.toolchain.program import Part, Program
from edgepack.toolchain.results import SourceFacts, StageRecord

_DISTRIBUTIONS = ("torch", "transformers", "onnx-ir", "onnxscript", "onnxruntime")


def program_folder(bench: Workbench, source: Source, fingerprint: str | None) -> Path:
    """Folder of the program of `source`: exported, checked for NaN, cleaned, verified after each."""
    request = source.request.to_json()
    location = request.pop("model")
    # Where a process stands, and where the model lies, does not change it (see `key` for the exception).
    request.pop("cwd")
    key = {
        "source": source.kind,
        "fingerprint": fingerprint or f"run {bench.run_id}",
        # Where it lies does not change a model, unless its content was not looked at.
        "location": None if fingerprint else location,
        "request": request,
        "versions": versions(*_DISTRIBUTIONS),
    }
    return bench.keep("export", key, lambda folder, record: _build(bench, source, folder, record))


def _build(bench: Workbench, source: Source, folder: Path, record: StageRecord) -> None:
    from edgepack.exporters.ladder import climb
    from edgepack.toolchain.passes.clean_up import clean_up
    from edgepack.toolchain.passes.storage import save
    from edgepack.toolchain.passes.weights import nan_or_inf

    begin = time.perf_counter()
    climbed = climb(source, folder, judging.judge_part, bench.recipe.time_limit_s)
    record.detail = f"{climbed.rung} in {time.perf_counter() - begin:.1f} s"
    part = climbed.program.parts["main"]
    model = part.model()
    bad = nan_or_inf(model)
    if bad:
        raise not_finite(bad, source.request.model)
    raw = part.path
    record.changes = clean_up(model)
    path = save(model, folder, "main")
    cleaned = Part("main", path, part.signature, part.cases)
    record.parity = judging.judge_part(cleaned)
    if not record.parity.passed:
        wrong = judging.first_wrong_between(raw, path, part.cases[0].inputs) or record.parity.first_wrong
        raise EdgepackError(
            f"The clean-up passes changed the model's outputs ({'; '.join(record.parity.failed)})",
            where=f"first wrong tensor: {wrong}" if wrong else "clean-up",
            todo="Report it together with the model",
        )
    if raw.is_relative_to(folder) and raw != path:
        raw.unlink()
    for name in ("request.json", "answer.json"):
        (folder / name).unlink(missing_ok=True)
    program = climbed.program
    Program({"main": cleaned}, program.links, program.source, program.notes).save(folder)


def source_facts(program: Program, fingerprint: str | None, digest: str, location: str) -> SourceFacts:
    """Facts for the report; a source without a fingerprint is known by the program it gave."""
    facts = SourceFacts.model_validate(program.source)
    return facts.model_copy(update={"fingerprint": fingerprint or f"program {digest}", "location": location})
