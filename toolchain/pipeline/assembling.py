"""Putting a run's results together: files into the bundle, facts into the manifest."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

from edgepack.toolchain.bundle_writer import BundleWriter
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.joining import Joined
from edgepack.toolchain.pipeline.recording import BOUNDS_FILE, CASES_FILE, fitting, write_calls
from edgepack.toolchain.pipeline.told import settled
from edgepack.toolchain.pipeline.workbench import read_json
from edgepack.toolchain.program import ROLLOUT_FILE, Program
from edgepack.toolchain.recipe import Recipe
from edgepack.toolchain.results import ArtifactResult, Comparison, Memory, Profile, ProgramResult, RunFacts

REJECTED = "rejected"
VERIFY = "verify"
STATES_FILE = "states.npz"
# A rollout that is cut for its size still shows the states at work.
_CALLS = 6


def add_artifact(
    writer: BundleWriter,
    builder: Builder,
    candidate: Candidate,
    *,
    rejected: bool,
    comparison: Comparison | None,
    memory: Memory | None,
    profile: Profile | None,
) -> ArtifactResult:
    """Copy an artifact's files into the bundle and say everything that is known about it."""
    compiled, lowered, parity_ = candidate.compiled, candidate.lowered, candidate.parity
    assert candidate.folder and compiled and lowered and parity_  # noqa: S101, PT018
    hashes = builder.bench.cache.hashes(candidate.folder)
    slug = candidate.target.name.replace(":", "-")
    home = f"{REJECTED}/{slug}-{candidate.offer.precision}" if rejected else slug
    named = compiled.joint or Path(compiled.files[0]).name.startswith(builder.part.name)
    if not named and len(builder.program.parts) > 1:
        # Files of several parts that bear no part's name would be in one another's way.
        home = f"{home}/{builder.part.name}"
    for name in dict.fromkeys(
        (*compiled.files, compiled.run_file, *_weights(candidate.folder, compiled.run_file))
    ):
        shipped = name in compiled.files
        if (writer.folder / _place(home, name, shipped=shipped)).exists():
            continue  # the weight file that another part has brought
        writer.add(candidate.folder / name, _place(home, name, shipped=shipped), hashes.get(name))
    files = [f"{home}/{name}" for name in compiled.files]
    run_file = _place(home, compiled.run_file, shipped=compiled.run_file in compiled.files)
    sizes = [(candidate.folder / name).stat().st_size for name in compiled.files]
    return ArtifactResult(
        target=candidate.target.name,
        part=builder.part.name,
        precision=candidate.offer.precision,
        files=files,
        size_bytes=sum(sizes),
        parity=parity_,
        placement=compiled.placement,
        latency=candidate.latency,
        memory=memory,
        tool=compiled.tool,
        profile=profile or compiled.profile,
        metrics=list(compiled.metrics),
        comparison=comparison,
        calibration=candidate.calibration,
        notes=[*lowered.notes, *compiled.notes],
        changed_nodes=lowered.changed_nodes,
        options=settled(builder.bench.recipe, candidate.target),
        run=_run_facts(writer, builder, candidate, home, run_file),
    )


def _place(home: str, name: str, *, shipped: bool) -> str:
    """Where a file lies in the bundle: what only the host runs stays apart from what ships."""
    return f"{home}/{name}" if shipped else f"{VERIFY}/{home}/{name}"


def _weights(folder: Path, run_file: str) -> list[str]:
    """Weight files beside the file that the host runs."""
    stem = Path(run_file).name
    return [p.relative_to(folder).as_posix() for p in (folder / run_file).parent.glob(f"{stem}.data")]


def _run_facts(
    writer: BundleWriter, builder: Builder, candidate: Candidate, home: str, run_file: str
) -> RunFacts:
    """A subset of the judged inputs with their reference, and the bounds that hold on it."""
    lowered = candidate.lowered
    assert lowered is not None  # noqa: S101
    folder = builder.recorded(candidate)
    part = "" if builder.part.name == "main" else f"{builder.part.name}."
    name = f"{VERIFY}/{home}/{part}{CASES_FILE}"
    writer.add(folder / CASES_FILE, name, builder.bench.cache.hashes(folder).get(CASES_FILE))
    return RunFacts(
        session=candidate.target.session,
        file=run_file,
        signature=asdict(lowered.signature),
        cases=name,
        gate=read_json(folder / BOUNDS_FILE),
    )


def add_program(writer: BundleWriter, program: Program, joined: Joined) -> ProgramResult:
    """Write what it takes to call a target's parts in a row, and say how well they agree."""
    import numpy as np

    slug = joined.target.replace(":", "-")
    links = () if joined.whole else program.links
    initial = {f"{part.name}/{name}": value for part in program for name, value in part.initial.items()}
    result = ProgramResult(
        target=joined.target,
        parts=list(joined.parts),
        links=[asdict(link) for link in links],
        rollout=joined.rollout,
        shared_bytes=joined.shared_bytes,
        whole=joined.whole.to_json() if joined.whole else None,
    )
    rollout = joined.calls if joined.whole else program.rollout
    with writer.storing():
        if initial:
            result.initial = f"{slug}/{STATES_FILE}"
            (writer.folder / slug).mkdir(exist_ok=True)
            np.savez(writer.folder / result.initial, **initial)  # type: ignore[arg-type]
        if rollout:
            count = fitting([c.inputs for c in rollout], [c.outputs for c in rollout])
            calls = rollout[: max(count, _CALLS)]
            result.cases = f"{VERIFY}/{slug}/{ROLLOUT_FILE}"
            result.calls = [call.part for call in calls]
            (writer.folder / VERIFY / slug).mkdir(parents=True, exist_ok=True)
            sides = [(c.inputs, c.outputs) for c in calls]
            write_calls(writer.folder / result.cases, sides)
    return result


def command(recipe: Recipe) -> str:
    """What to type to get this bundle again."""
    words = ["edgepack", "export", recipe.model, "--target", ",".join(recipe.targets), "--out", recipe.out]
    defaults = Recipe(model="")
    options = {
        "--precision": recipe.precision != defaults.precision and recipe.precision,
        "--assign": recipe.assign,
        "--task": recipe.task,
        "--metric": recipe.metric,
        "--time-budget": recipe.time_budget_s,
        "--calibration": recipe.calibration,
        "--calibration-samples": recipe.calibration_samples != defaults.calibration_samples
        and recipe.calibration_samples,
        "--threads": recipe.threads != defaults.threads and recipe.threads,
        "--time-limit": recipe.time_limit_s != defaults.time_limit_s and recipe.time_limit_s,
    }
    for name, value in options.items():
        if value:
            words += [name, str(value)]
    for text in recipe.inputs:
        words += ["--inputs", text]
    words += _repeated(recipe)
    flags = {
        "--static": recipe.static,
        "--no-measure": not recipe.measure,
        "--trust-pickle": recipe.trust_pickle,
        "--trust-remote-code": recipe.trust_remote_code,
    }
    return shlex.join(words + [name for name, given in flags.items() if given])


def _repeated(recipe: Recipe) -> list[str]:
    """The options that are given once for every name."""
    words = []
    for flag, told in (
        ("--size", recipe.sizes),
        ("--buckets", {dim: ",".join(map(str, sizes)) for dim, sizes in recipe.buckets.items()}),
        ("--pad", recipe.pad),
        ("--quantize", recipe.quantize),
        ("--target-option", recipe.target_options),
        ("--gate", recipe.gate),
    ):
        for name, option in told.items():
            words += [flag, f"{name}={str(option).lower() if isinstance(option, bool) else option}"]
    for name in recipe.host:
        words += ["--host", name]
    for node in recipe.keep:
        words += ["--keep", node]
    return words
