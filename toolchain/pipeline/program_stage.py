"""From the source to a verified, cleaned program in the cache."""

from __future__ import annotations

import time
from pathlib import Path

from edgepack.exporters.sources import Source
from edgepack.toolchain.errors import EdgepackError, UsageError, not_finite
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.workbench import Workbench, versions
from edgepack.toolchain.program import LOOP_NOTE, Part, Program
from edgepack.toolchain.quantized import QUANTIZED_NOTE
from edgepack.toolchain.results import Parity, SourceFacts, StageRecord

_DISTRIBUTIONS = ("torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime")


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
    from edgepack.toolchain.passes.declared import declare
    from edgepack.toolchain.passes.storage import data_files, save_all
    from edgepack.toolchain.passes.weights import nan_or_inf

    begin = time.perf_counter()
    judge = judging.GraphJudge()
    climbed = climb(source, folder, judge, bench.recipe.time_limit_s)
    record.detail = f"{climbed.rung} in {time.perf_counter() - begin:.1f} s"
    program = climbed.program
    models = {part.name: part.model() for part in program}
    for part in program:
        model = models[part.name]
        declare(model, part.signature)
        bad = nan_or_inf(model)
        if bad:
            raise not_finite(bad, source.request.model)
        for name, count in clean_up(model).items():
            record.changes[name] = record.changes.get(name, 0) + count
    raw = {part.name: part for part in program}
    paths = save_all(models, folder, "main.onnx" if list(models) == ["main"] else "weights")
    cleaned = {
        name: Part(name, paths[name], part.signature, list(part.cases), initial=part.initial)
        for name, part in raw.items()
    }
    program = Program(cleaned, program.links, program.source, program.notes, [*program.rollout])
    record.parity = _verified(program, raw, judge)
    used = {path.resolve() for model in models.values() for path in data_files(model)}
    keep = used | {path.resolve() for part in program for path in data_files(part.model())}
    for path in folder.iterdir():
        if path.resolve() not in keep and path not in paths.values():
            path.unlink()
    program.save(folder)


def _verified(program: Program, raw: dict[str, Part], judge: judging.GraphJudge) -> Parity:
    """The cleaned parts against the source, each and together; of several parts the worst is given.

    Raises:
        EdgepackError: Clean-up changed an output; the first wrong tensor is named.
    """
    found = {part.name: judge.part(part) for part in program}
    for name, result in found.items():
        if not result.passed:
            part = program.parts[name]
            feed = part.cases[0].inputs
            wrong = judging.first_wrong_between(raw[name].path, part.path, feed) or result.first_wrong
            raise EdgepackError(
                f"The clean-up passes changed the model's outputs ({'; '.join(result.failed)})",
                where=f"part {name}, first wrong tensor: {wrong}" if wrong else f"part {name}, clean-up",
                todo="Report it together with the model",
            )
    together = judge.rollout(program)
    if together is not None:
        if not together.passed:
            raise EdgepackError(
                f"After the clean-up passes the parts called in a row differ from the full sequence "
                f"({'; '.join(together.failed)})",
                todo="Report it together with the model",
            )
        found["all parts"] = together
    return min(found.values(), key=lambda parity: (parity.min_cosine is None, parity.min_cosine or 0.0))


def check_static(bench: Workbench, program: Program) -> None:
    """Raise UsageError when fixed sizes are asked for and the program cannot have them."""
    if bench.recipe.static and (len(program.parts) > 1 or program.links):
        raise UsageError(
            f"The parts {', '.join(program.parts)} are called with lengths that grow, and --static fixes them",
            where="--static",
            todo="Leave it out; it is for models of one part without states",
        )


def warn_of(bench: Workbench, program: Program) -> None:
    """Raise to warnings what of the exporter's notes costs time on the device, or changes what is offered."""
    for note in program.notes:
        if note.startswith((LOOP_NOTE, QUANTIZED_NOTE)):
            bench.log.add_warning(note)


def source_facts(program: Program, fingerprint: str | None, digest: str, location: str) -> SourceFacts:
    """Facts for the report; a source without a fingerprint is known by the program it gave."""
    facts = SourceFacts.model_validate(program.source)
    return facts.model_copy(update={"fingerprint": fingerprint or f"program {digest}", "location": location})
