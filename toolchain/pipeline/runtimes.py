"""Which runtime is fastest on this machine: what each target ships, timed in turn in one process.

A target's own candidates are compared with its own fp32. Between targets only times taken together say anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgepack.runtime import environment
from edgepack.toolchain.pipeline import judging, measuring
from edgepack.toolchain.pipeline.budget import Turn
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.making import Made
from edgepack.toolchain.pipeline.workbench import Workbench, read_json, versions
from edgepack.toolchain.results import Environment, RuntimeEntry, RuntimesResult, StageRecord

_RESULT = "runtimes.json"


def side_by_side(
    bench: Workbench, builder: Builder, made: Sequence[Made], env: Environment, turn: Turn
) -> RuntimesResult | None:
    """The chosen artifacts of one part over all targets that run here; None when there are fewer than two.

    The baseline is fp32 on the reference runtime: the program as it was verified.

    Args:
        bench: The run's tools.
        builder: Of the part.
        made: What the targets gave for it.
        env: The machine.
        turn: What is left of the time budget.
    """
    chosen = [
        entry.chosen
        for entry in made
        if entry.chosen is not None and entry.chosen.target.runs_here and entry.builder.part is builder.part
    ]
    if len({candidate.target.session for candidate in chosen}) < 2:  # noqa: PLR2004 - to be compared
        return None
    files = {_name(c): measuring.file_of(c) for c in chosen}
    baseline = "fp32 on ONNX Runtime"
    files[baseline] = (judging.REFERENCE_SESSION, builder.part.path, builder.part.signature)
    key = {
        "artifacts": {_name(c): bench.digest(c.folder) for c in chosen if c.folder},
        "program": bench.digest(builder.folder),
        "part": builder.part.name,
        "environment": environment.fingerprint(env),
        "threads": bench.recipe.threads,
        "sizes": builder.sizes,
        "versions": versions(
            *(r.distribution for c in chosen for r in c.target.requirements()), of=[c.target for c in chosen]
        ),
    }

    def build(folder: Path, record: StageRecord) -> None:
        timed = measuring.in_turn(bench, builder, files, baseline, turn)
        record.detail = f"{len(files)} in turn, {bench.recipe.threads} thread(s)"
        found = {
            name: {
                "latency": timed.latencies[name].model_dump(),
                "comparison": timed.comparisons[name].model_dump() if name in timed.comparisons else None,
            }
            for name in files
        }
        (folder / _RESULT).write_text(json.dumps(found))

    found = read_json(bench.keep("runtimes side by side", key, build, part=builder.part.name) / _RESULT)
    entries = [
        RuntimeEntry.model_validate(
            {"target": c.target.name, "precision": c.offer.precision, **found[_name(c)]}
        )
        for c in chosen
    ]
    entries.sort(key=lambda entry: entry.latency.p50_ms)
    return RuntimesResult(part=builder.part.name, baseline=baseline, entries=entries)


def _name(candidate: Candidate) -> str:
    return f"{candidate.target.name} {candidate.offer.precision}"
