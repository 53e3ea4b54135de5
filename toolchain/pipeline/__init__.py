"""The pipeline: the stages of a run in their order, and what becomes of failures.

A target that fails does not stop the others; it is written down, and decides the exit code. A run in
which no target gave anything leaves no bundle.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.targets.base import Target, targets
from edgepack.toolchain import report
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.bundle_writer import BundleWriter, check_out
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import EdgepackError, UsageError
from edgepack.toolchain.events import Listener, Log
from edgepack.toolchain.journal import journal_end, journal_read, journal_stage, journal_start
from edgepack.toolchain.metrics import read_metric
from edgepack.toolchain.pipeline import assembling, members
from edgepack.toolchain.pipeline.budget import Budget
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.contract import fault_of
from edgepack.toolchain.pipeline.joining import Joined, join
from edgepack.toolchain.pipeline.joining_whole import join_whole
from edgepack.toolchain.pipeline.known import Known
from edgepack.toolchain.pipeline.making import Made, by_target, make_part
from edgepack.toolchain.pipeline.metering import Meter
from edgepack.toolchain.pipeline.padding import check_buckets
from edgepack.toolchain.pipeline.program_stage import check_static, program_folder, source_facts, warn_of
from edgepack.toolchain.pipeline.runtimes import side_by_side
from edgepack.toolchain.pipeline.told import check_told
from edgepack.toolchain.pipeline.variants import all_variants, check_host
from edgepack.toolchain.pipeline.wanted import resolve_targets
from edgepack.toolchain.pipeline.workbench import Workbench
from edgepack.toolchain.program import Program
from edgepack.toolchain.recipe import Recipe, make
from edgepack.toolchain.results import ArtifactResult, Environment, Failure, Manifest

_RUN_ID = "run id"


def run(
    recipe: Recipe,
    *,
    cache: Cache | None = None,
    listener: Listener | None = None,
    resume: bool = False,
    jobs: int | None = None,
) -> Bundle:
    """Do everything a recipe asks for and write the bundle.

    Args:
        recipe: What to do.
        cache: Where finished stages are kept; the user's cache unless given.
        listener: Told of stages and warnings as they come.
        resume: Continue the run to `recipe.out` that did not finish, with that run's recipe.
        jobs: The most processes that build targets side by side; 1: all in this one. None: one a core, as far as
            the memory goes.

    Returns:
        The bundle; its `rejected` and `failures` say what did not work.

    Raises:
        EdgepackError: Nothing could be made: a wrong request, an unreadable model, or every target
            failed (then the first failure).
    """
    budget = Budget(recipe.time_budget_s)
    out = check_out(Path(recipe.out))
    run_id = secrets.token_hex(8)
    if resume:
        recipe, run_id = _resumed(out, recipe)
    wanted = resolve_targets(recipe.targets)
    check_told(recipe, wanted)
    source = open_source(
        SourceRequest(
            recipe.model, recipe.task, tuple(recipe.inputs), recipe.trust_pickle, recipe.trust_remote_code
        )
    )
    source.check()
    journal = journal_start(out, {**recipe.model_dump(), _RUN_ID: run_id})

    def on_stage(name: str) -> None:
        nonlocal journal
        journal = journal_stage(out, journal, name)

    with cache or Cache() as store:
        bench = Workbench(recipe, store, Log(listener), run_id, on_stage)
        if any(name not in targets for name in recipe.targets):  # a family may miss a member
            for problem in targets.problems.values():
                bench.log.add_warning(str(problem))
        with bench.log.stage("fingerprint"):
            fingerprint = source.fingerprint()
        folder = program_folder(bench, source, fingerprint)
        bundle = _targets(
            bench, budget, wanted, folder, source.request.anywhere().to_json(), fingerprint, out, jobs
        )
    journal_end(out)
    return bundle


def _resumed(out: Path, recipe: Recipe) -> tuple[Recipe, str]:
    journal = journal_read(out)
    if journal is None:
        raise UsageError(
            "There is no unfinished run to resume",
            where=str(out),
            todo="Leave out --resume to start a new one",
        )
    values = dict(journal.recipe)
    run_id = str(values.pop(_RUN_ID))
    return make(**{**values, "out": recipe.out}), run_id


def _targets(
    bench: Workbench,
    budget: Budget,
    wanted: list[Target],
    folder: Path,
    source: dict[str, object],
    fingerprint: str | None,
    out: Path,
    jobs: int | None,
) -> Bundle:
    program = Program.load(folder)
    check_static(bench, program)
    check_buckets(program, bench.recipe.buckets, bench.recipe.pad)
    check_host(bench.recipe, program, wanted)
    warn_of(bench, program)
    builders, meter = builders_of(bench, program, folder, source)
    from edgepack.runtime import environment

    env = environment.capture(threads=bench.recipe.threads, spinning=False)
    known = members.build(bench, builders, wanted, budget, jobs)
    turns, errors = _turns(builders, wanted)
    made, failed = _made(bench, budget, turns, env, known)
    errors += failed
    if not made:
        raise errors[0][1]
    failures = [Failure(target=t.name, error=str(e), exit_code=e.exit_code) for t, e in errors]
    failures += [failure for entry in made for failure in entry.failures()]
    if all(entry.chosen is None and not entry.rejected for entry in made):
        raise next(c.error for entry in made for c in entry.candidates if c.error is not None)
    manifest = Manifest(
        edgepack=metadata.version("edgepack"),
        bundle=bench.recipe.out,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=assembling.command(bench.recipe),
        source=source_facts(program, fingerprint, bench.digest(folder), bench.recipe.model),
        recipe=bench.recipe.model_dump(),
        exported=program.notes,
        failures=failures,
        environment=env,
    )
    together = [
        join(bench, program, folder, entries, meter)
        if entries[0].builder.whole is None
        else join_whole(bench, entries)
        for entries in by_target(made)
        if program.links or len(builders) > 1 or entries[0].builder.whole is not None
    ]
    manifest.failures += [entry.failure for entry in together if entry.failure is not None]
    if bench.recipe.measure:
        found = [
            side_by_side(bench, b, made, env, budget.turn(1)) for b in {id(b): b for _, b in turns}.values()
        ]
        manifest.runtimes = [result for result in found if result is not None]
    manifest.candidates = [line for entry in made for line in entry.results]
    return _written(bench, out, manifest, program, made, together)


def _written(
    bench: Workbench,
    out: Path,
    manifest: Manifest,
    program: Program,
    made: Sequence[Made],
    together: Sequence[Joined],
) -> Bundle:
    """The bundle with every artifact that ships, those that were rejected, and the report."""
    env = manifest.environment
    with BundleWriter(out) as writer:
        with bench.log.stage("bundle"):
            for entry in made:
                if entry.chosen is not None:
                    manifest.artifacts.append(_artifact(bench, writer, entry, entry.chosen, env))
                for candidate in entry.rejected:
                    manifest.rejected.append(_artifact(bench, writer, entry, candidate, env, rejected=True))
            manifest.programs = [
                assembling.add_program(writer, program, entry) for entry in together if entry.parts
            ]
        manifest.stages = bench.log.stages
        manifest.warnings = bench.log.warnings
        with writer.storing():
            report.write(manifest, writer.folder)
        return writer.commit(manifest)


def _turns(
    builders: list[Builder], wanted: list[Target]
) -> tuple[list[tuple[Target, Builder]], list[tuple[Target, EdgepackError]]]:
    """What is built for every target, in order, and the targets of which nothing can be."""
    turns: list[tuple[Target, Builder]] = []
    errors: list[tuple[Target, EdgepackError]] = []
    for target in wanted:
        try:
            turns += all_variants(builders, target)
        except UsageError:
            raise
        except EdgepackError as error:
            errors.append((target, error))
    return turns, errors


def _made(
    bench: Workbench,
    budget: Budget,
    turns: list[tuple[Target, Builder]],
    env: Environment,
    known: Known,
) -> tuple[list[Made], list[tuple[Target, EdgepackError]]]:
    """Every part for every target, and what came to nothing."""
    made: list[Made] = []
    errors: list[tuple[Target, EdgepackError]] = []
    for done, (target, builder) in enumerate(turns):
        try:
            turn = budget.turn(len(turns) - done)
            made.append(make_part(bench, builder, target, env, turn, known))
        except UsageError:
            raise
        except EdgepackError as error:
            errors.append((target, error))
        except Exception as error:  # noqa: BLE001 - a target of anybody's must not take others with it
            errors.append((target, fault_of(target.name, error)))
    return made, errors


def builders_of(
    bench: Workbench, program: Program, folder: Path, source: dict[str, object]
) -> tuple[list[Builder], Meter | None]:
    """One for every part, who know one another, and what takes the user's metric."""
    metric = read_metric(bench.recipe.metric) if bench.recipe.metric else None
    builders: dict[str, Builder] = {}
    meter = None
    if metric is not None and not metric.agreement:
        meter = Meter(bench, program, folder, metric, lambda part: builders[part].data)
    for part in program:
        builders[part.name] = Builder(bench, program, part, folder, source, metric, meter, builders)
    return list(builders.values()), meter


def _artifact(
    bench: Workbench,
    writer: BundleWriter,
    entry: Made,
    candidate: Candidate,
    env: Environment,
    *,
    rejected: bool = False,
) -> ArtifactResult:
    from edgepack.toolchain.pipeline import measuring

    memory = profile = None
    if candidate.target.runs_here and bench.recipe.measure and not rejected:
        memory, profile = measuring.memory_and_profile(bench, entry.builder, candidate, env)
    return assembling.add_artifact(
        writer,
        entry.builder,
        candidate,
        rejected=rejected,
        comparison=entry.comparisons.get(candidate.offer.precision),
        memory=memory,
        profile=profile,
    )


__all__ = ["builders_of", "resolve_targets", "run"]
