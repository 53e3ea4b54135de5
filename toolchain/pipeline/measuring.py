"""Timing a target's candidates side by side, and the memory and operator times of what is shipped."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime import environment, memory, timing
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.pipeline import judging, recording
from edgepack.toolchain.pipeline.budget import Turn
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.workbench import Workbench, read_json, target_versions
from edgepack.toolchain.program import Signature
from edgepack.toolchain.results import Comparison, Environment, Latency, Memory, Profile, StageRecord

if TYPE_CHECKING:
    import numpy as np

_RESULT = "measurements.json"
File = tuple[str, Path, Signature]
"""A session's name, the file that it opens, and what goes in and comes out."""
_MOST_SECONDS, _FEWEST_SECONDS = 30.0, 3.0


def feed(builder: Builder, signature: Signature) -> dict[str, np.ndarray]:
    """The input that is timed: the first reference row, repeated to the asked sizes, nothing masked."""
    example = builder.part.cases[0].inputs
    return {
        spec.name: recording.first_row(example[spec.name], spec.resolve(builder.sizes))
        for spec in signature.inputs
    }


def seconds(turn: Turn) -> float:
    """How long artifacts may be timed."""
    left = turn.seconds
    return _MOST_SECONDS if left is None else min(_MOST_SECONDS, max(_FEWEST_SECONDS, left))


def file_of(candidate: Candidate) -> File:
    """What of a built candidate is opened."""
    assert candidate.lowered is not None  # noqa: S101
    return candidate.target.session, candidate.run_path, candidate.lowered.signature


def in_turn(
    bench: Workbench, builder: Builder, files: Mapping[str, File], baseline: str, turn: Turn
) -> timing.Timed:
    """Time files by name, interleaved in this process, each opened once; `load_ms` of each is part of its latency."""
    with contextlib.ExitStack() as stack:
        runs, load_ms, shapes = {}, {}, {}
        for name, (session_name, path, signature) in files.items():
            sessions.get(session_name).prepare()  # the runtime's own import is not the artifact's load time
            begin = time.perf_counter()
            session = stack.enter_context(
                judging.open_session(session_name, path, signature, bench.recipe.threads)
            )
            load_ms[name] = (time.perf_counter() - begin) * 1e3
            inputs = feed(builder, signature)
            shapes = {key: list(value.shape) for key, value in inputs.items()}
            runs[name] = lambda session=session, inputs=inputs: session.run(inputs)
        return timing.measure_together(
            runs,
            baseline,
            threads=bench.recipe.threads,
            shapes=shapes,
            load_ms=load_ms,
            max_seconds=seconds(turn),
        )


def time_together(
    bench: Workbench,
    builder: Builder,
    candidates: Sequence[Candidate],
    baseline: str,
    env: Environment,
    turn: Turn,
) -> tuple[dict[str, Latency], dict[str, Comparison]]:
    """Latency of every candidate by precision, and each against `baseline`, interleaved in this process.

    What is left of `turn` bounds the time, but a few seconds it always takes: nothing is chosen unmeasured.
    """
    target = candidates[0].target
    key = {
        "session": target.session,
        "artifacts": {c.offer.precision: bench.digest(c.folder) for c in candidates if c.folder},
        "baseline": baseline,
        "environment": environment.fingerprint(env),
        "threads": bench.recipe.threads,
        "sizes": builder.sizes,
        "versions": target_versions(target, "onnxruntime"),
    }

    def build(folder: Path, record: StageRecord) -> None:
        files = {candidate.offer.precision: file_of(candidate) for candidate in candidates}
        timed = in_turn(bench, builder, files, baseline, turn)
        record.detail = f"{len(files)} in turn, {bench.recipe.threads} thread(s)"
        result = {
            "latencies": {name: latency.model_dump() for name, latency in timed.latencies.items()},
            "comparisons": {name: comparison.model_dump() for name, comparison in timed.comparisons.items()},
        }
        (folder / _RESULT).write_text(json.dumps(result))

    result = read_json(bench.keep("measure", key, build, target=target.name) / _RESULT)
    return (
        {name: Latency.model_validate(value) for name, value in result["latencies"].items()},
        {name: Comparison.model_validate(value) for name, value in result["comparisons"].items()},
    )


def memory_and_profile(
    bench: Workbench, builder: Builder, candidate: Candidate, env: Environment
) -> tuple[Memory, Profile]:
    """Peak memory in a process of its own, and the runtime's per-operator times."""
    target, lowered = candidate.target, candidate.lowered
    assert candidate.folder is not None and lowered is not None  # noqa: S101, PT018
    key = {
        "artifact": bench.digest(candidate.folder),
        "session": target.session,
        "environment": environment.fingerprint(env),
        "threads": bench.recipe.threads,
        "sizes": builder.sizes,
    }

    def build(folder: Path, record: StageRecord) -> None:
        inputs = feed(builder, lowered.signature)
        used = memory.peak(
            target.session,
            candidate.run_path,
            lowered.signature,
            inputs,
            threads=bench.recipe.threads,
            time_limit_s=bench.recipe.time_limit_s,
        )
        with judging.open_session(
            target.session, candidate.run_path, lowered.signature, bench.recipe.threads
        ) as session:
            profile = session.profile(inputs)
        record.detail = f"peak {used.peak_bytes / 2**20:.0f} MiB"
        (folder / _RESULT).write_text(
            json.dumps({"memory": used.model_dump(), "profile": profile.model_dump()})
        )

    name = candidate.offer.precision
    result = read_json(
        bench.keep("memory and operators", key, build, target=target.name, precision=name) / _RESULT
    )
    return Memory.model_validate(result["memory"]), Profile.model_validate(result["profile"])
