"""The parts of one target brought together: one file of weights, and calls in a row against the whole.

A part that passes alone can still fail in company: errors of a quantized step run through the cache
into all that follow. So the chosen parts are played together, and the user's metric is taken of them.
Where they fail, the part that is furthest off steps down to the next form that is faster than floating
point, and at last to that, until the program passes; what is shipped has passed as a program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgepack.targets.base import Target
from edgepack.toolchain import parity
from edgepack.toolchain.errors import EdgepackError, GateError
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.making import Made, cosine
from edgepack.toolchain.pipeline.metering import Meter
from edgepack.toolchain.pipeline.workbench import (
    RECORDS_FILE,
    Workbench,
    read_json,
    target_versions,
    versions,
)
from edgepack.toolchain.program import Call, Part, Program
from edgepack.toolchain.results import Failure, Parity, StageRecord
from edgepack.toolchain.whole import Whole

WEIGHTS = "weights"
JOINT_FILE = "joint.json"


@dataclass
class Joined:
    """A target's parts as a program.

    Attributes:
        target: Name of the target.
        parts: The candidates that ship, by part; empty when they do not agree in a row.
        rollout: How well they agree; None for a program without a rollout, or when parts are missing.
        shared_bytes: Size of the weight file that all parts read, where they share one.
        failure: Why nothing is shipped.
        whole: What a caller sees of the parts, where that is not they themselves.
        calls: Of the whole, with what they should give.
    """

    target: str
    parts: dict[str, Candidate] = field(default_factory=dict)
    rollout: Parity | None = None
    shared_bytes: int | None = None
    failure: Failure | None = None
    whole: Whole | None = None
    calls: list[Call] = field(default_factory=list)


def join(
    bench: Workbench, program: Program, folder: Path, entries: Sequence[Made], meter: Meter | None = None
) -> Joined:
    """Play the chosen parts together, let parts step down while they fail, and share their weights.

    Args:
        bench: The run's tools.
        program: The program.
        folder: Its folder in the cache.
        entries: What one target gave for every part; `chosen` is changed where a part steps down.
        meter: The user's metric.
    """
    target = entries[0].candidates[0].target
    joined = Joined(target.name)
    if any(entry.chosen is None for entry in entries) or len(entries) < len(program.parts):
        return joined
    chosen = {entry.builder.part.name: entry.chosen for entry in entries if entry.chosen is not None}
    rollout = _play(bench, program, folder, entries, chosen, meter)
    ladders = {entry.builder.part.name: entry.ladder() for entry in entries}
    while rollout is not None and not rollout.passed and any(ladders.values()):
        part = min(
            (name for name, ladder in ladders.items() if ladder), key=lambda name: cosine(chosen[name])
        )
        why = f"with {chosen[part].offer.precision} the parts together failed: {'; '.join(rollout.failed)}"
        entry = next(entry for entry in entries if entry.builder.part.name == part)
        rung = entry.built(ladders[part].pop(0))
        if rung is None:
            continue
        chosen[part] = rung
        entry.choose(rung, why)
        rollout = _play(bench, program, folder, entries, chosen, meter)
    joined.rollout = rollout
    if rollout is not None and not rollout.passed:
        for entry in entries:
            entry.rejected = [chosen[entry.builder.part.name]]
            entry.choose(None, "")
        error = GateError(
            f"The parts called in a row differ from the full sequence: {'; '.join(rollout.failed)}",
            where=target.name,
            todo="They are kept under rejected/; try another --precision of the target, or real --calibration data",
        )
        joined.failure = Failure(target=target.name, error=str(error), exit_code=error.exit_code)
        return joined
    if target.session == judging.REFERENCE_SESSION:
        chosen, joined.shared_bytes = share(bench, chosen)
    elif len(chosen) > 1:
        chosen, joined.shared_bytes = one_file(bench, target, entries, chosen)
    for entry in entries:
        entry.chosen = chosen[entry.builder.part.name]
    joined.parts = chosen
    return joined


def _play(
    bench: Workbench,
    program: Program,
    folder: Path,
    entries: Sequence[Made],
    chosen: Mapping[str, Candidate],
    meter: Meter | None,
) -> Parity | None:
    quantized = any(candidate.offer.quantizer is not None for candidate in chosen.values())
    meter = meter if quantized and len(program.parts) > 1 else None
    if not program.rollout and meter is None:
        return None
    target = next(iter(chosen.values())).target
    gates = [entry.builder.gate(chosen[entry.builder.part.name].offer) for entry in entries]
    gate = parity.widest(gates)  # one quantized part makes the whole a quantized program

    def build(_: Path, record: StageRecord) -> None:
        files = {
            name: (target.session, candidate.run_path, candidate.lowered.signature)
            for name, candidate in chosen.items()
            if candidate.lowered is not None
        }
        record.parity = judging.judge_rollout(program, files, gate)
        if meter is not None:
            record.parity = record.parity or Parity(passed=True, data="the metric alone")
            meter.judge(record.parity, files)

    key = {
        "program": bench.digest(folder),
        "parts": {name: bench.digest(c.folder) for name, c in chosen.items() if c.folder},
        "session": target.session,
        "gate": gate,
        "metric": meter.key if meter else None,
        "versions": target_versions(target, "onnxruntime"),
    }
    out = bench.keep("calls in a row", key, build, target=target.name)
    return StageRecord.model_validate(read_json(out / RECORDS_FILE)).parity


def share(bench: Workbench, chosen: Mapping[str, Candidate]) -> tuple[dict[str, Candidate], int]:
    """The same graphs with one file of weights; what two parts have in common is in it once."""

    def build(out: Path, record: StageRecord) -> None:
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save_all

        models = {name: ir.load(candidate.run_path) for name, candidate in chosen.items()}
        save_all(models, out, WEIGHTS, reuse=False)
        before = sum(p.stat().st_size for c in chosen.values() if c.folder for p in c.folder.glob("*.onnx*"))
        after = sum(p.stat().st_size for p in out.iterdir())
        record.detail = f"{before / 2**20:.1f} MiB in {len(models)} parts, {after / 2**20:.1f} MiB together"

    key = {
        "parts": {name: bench.digest(c.folder) for name, c in chosen.items() if c.folder},
        "versions": versions("onnx-ir"),
    }
    target = next(iter(chosen.values())).target
    out = bench.keep("share weights", key, build, target=target.name)
    weights = out / f"{WEIGHTS}.data"
    data = (weights.name,) if weights.exists() else ()
    shared = {}
    for name, candidate in chosen.items():
        if candidate.compiled is None:
            continue
        graph = f"{name}.onnx"
        compiled = replace(candidate.compiled, files=(graph, *data), run_file=graph)
        shared[name] = replace(candidate, folder=out, compiled=compiled)
    return shared, weights.stat().st_size if data else 0


def one_file(
    bench: Workbench, target: Target, entries: Sequence[Made], chosen: dict[str, Candidate]
) -> tuple[dict[str, Candidate], int | None]:
    """The parts in one file, where the target's form can hold several; it must give what their own files do."""

    def build(out: Path, record: StageRecord) -> None:
        name = target.join({part: candidate.run_path for part, candidate in chosen.items()}, out)
        (out / JOINT_FILE).write_text(json.dumps(name))
        if name is None:
            record.detail = "every part keeps its own file"
            return
        for entry in entries:
            _same(target, entry.builder.part, chosen[entry.builder.part.name], out / name)
        before = sum(candidate.run_path.stat().st_size for candidate in chosen.values())
        after = (out / name).stat().st_size
        record.detail = f"{before / 2**20:.1f} MiB in {len(chosen)} files, {after / 2**20:.1f} MiB in one"

    key = {
        "parts": {name: bench.digest(c.folder) for name, c in chosen.items() if c.folder},
        "versions": target_versions(target),
    }
    out = bench.keep("join parts", key, build, target=target.name)
    name = read_json(out / JOINT_FILE)
    if name is None:
        return chosen, None
    made = {}
    for part, candidate in chosen.items():
        if candidate.compiled is not None:
            compiled = replace(candidate.compiled, files=(name,), run_file=name, joint=True)
            made[part] = replace(candidate, folder=out, compiled=compiled)
    return made, (out / name).stat().st_size


def _same(target: Target, part: Part, candidate: Candidate, path: Path) -> None:
    """Raise EdgepackError unless a part computes in the joint file what it does in its own."""
    import numpy as np

    assert candidate.lowered is not None  # noqa: S101
    signature = candidate.lowered.signature
    feeds = judging.case_feeds(part, signature)[:1]
    own, joint = (
        judging.run(target.session, file, signature, feeds, 1) for file in (candidate.run_path, path)
    )
    for one, other in zip(own, joint, strict=True):
        for name, value in one.items():
            if not np.array_equal(value, other[name], equal_nan=value.dtype.kind == "f"):
                raise EdgepackError(
                    f"In one file with the other parts, {part.name} gives another '{name}' than in its own",
                    where=target.name,
                    todo="Report it together with the model",
                )
