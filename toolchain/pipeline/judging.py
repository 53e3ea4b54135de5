"""Running graphs and artifacts on recorded inputs, and judging them against their reference."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize.data import fit_feed
from edgepack.runtime.sessions.base import Session, sessions
from edgepack.toolchain import locate, parity
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.pipeline.as_written import came_quantized, run_as_written
from edgepack.toolchain.program import Call, Part, Program, Signature
from edgepack.toolchain.results import Parity

if TYPE_CHECKING:
    import numpy as np

    Feed = Mapping[str, np.ndarray]
    Outputs = dict[str, np.ndarray]

REFERENCE_SESSION = "onnxruntime"
# Where the gate does not speak of cosine, a tensor below this is named as the first wrong one.
_LOW_COSINE = 0.99


def run(
    session_name: str, path: Path, signature: Signature, feeds: Iterable[Feed], threads: int
) -> list[Outputs]:
    """Outputs of an artifact for every feed."""
    with open_session(session_name, path, signature, threads) as session:
        return [session.run(feed) for feed in feeds]


def open_session(session_name: str, path: Path, signature: Signature, threads: int) -> Session:
    """A session of the named runtime."""
    return sessions.get(session_name)(path, signature, threads=threads)


class GraphJudge:
    """What the export ladder needs, by the reference runtime."""

    def part(self, part: Part) -> Parity:
        """A part's graph against the source framework's recorded outputs, on every case."""
        return judge_part(part)

    def rollout(self, program: Program) -> Parity | None:
        """The program's graphs called one after the other against the whole sequence, if it has a rollout."""
        return judge_rollout(
            program,
            {part.name: (REFERENCE_SESSION, part.path, part.signature) for part in program},
            parity.FLOAT_GATE,
        )

    def tensors(self, path: Path, feed: Feed, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Intermediate tensors of one call."""
        return tensors(path, feed, names)


def judge_rollout(
    program: Program, files: Mapping[str, tuple[str, Path, Signature]], gate: Mapping[str, float]
) -> Parity | None:
    """Play a program's rollout on the files of its parts and compare every call with the full sequence.

    Args:
        program: Links, initial states and calls.
        files: Session, file and signature by part.
        gate: As for `parity.compare`.

    Returns:
        None when the program has no rollout, or `files` lacks one of its parts. Files of fixed sizes are played up
        to the first call of other sizes, and None is returned when that is the first of all.
    """
    if not program.rollout or any(call.part not in files for call in program.rollout):
        return None
    calls = list(itertools.takewhile(lambda call: fits(files[call.part][2], call), program.rollout))
    if not calls:
        return None
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(open_session(session, path, signature, 1))
            for name, (session, path, signature) in files.items()
        }
        player = StatefulProgram(
            {name: signature for name, (_, _, signature) in files.items()},
            program.links,
            lambda part, feed: opened[part].run(feed),
            {part.name: part.initial for part in program},
        )
        got = [player.call(call.part, call.inputs) for call in calls]
    played = f"{len(got)} calls in a row"
    if len(calls) < len(program.rollout):
        played += (
            f"; the other {len(program.rollout) - len(calls)} begin with sizes that the files do not have"
        )
    result = parity.compare([call.outputs for call in calls], got, gate, data=played)
    if not result.passed:
        result.first_wrong = first_wrong_output([call.outputs for call in calls], got)
    return result


def fits(signature: Signature, call: Call) -> bool:
    """Whether a call's inputs have the sizes that a part has for good."""
    for name, value in call.inputs.items():
        shape = signature.input(name).shape
        if len(shape) != value.ndim:
            return False
        fixed = zip(shape, value.shape, strict=True)
        if any(isinstance(dim, int) and dim != size for dim, size in fixed):
            return False
    return True


def judge_part(part: Part) -> Parity:
    """A part's graph against the source framework's recorded outputs, on every case."""
    feeds = (case.inputs for case in part.cases)
    if came_quantized(part.path):
        got = run_as_written(part.path, part.signature, feeds)
    else:
        got = run(REFERENCE_SESSION, part.path, part.signature, feeds, 1)
    result = parity.compare(part.cases, got, parity.FLOAT_GATE)
    if not result.passed:
        result.first_wrong = first_wrong_output([case.outputs for case in part.cases], got)
    return result


def first_wrong_output(reference: Sequence[Feed], got: Sequence[Outputs]) -> str | None:
    """The first output beyond tolerance, for where nothing further in can be compared."""
    for name in dict.fromkeys(name for expected in reference for name in expected):
        for expected, outputs in zip(reference, got, strict=True):
            if (
                name in expected
                and not parity.compare([{name: expected[name]}], [outputs], parity.FLOAT_GATE).passed
            ):
                return name
    return None


def tensors(path: Path, feed: Feed, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Intermediate tensors of an ONNX file, by the reference runtime."""
    from edgepack.runtime.sessions.onnxruntime import tensors as show

    return show(path, feed, names)


def first_wrong_between(good: Path, bad: Path, feed: Feed) -> str | None:
    """The first tensor that two ONNX files both name and disagree on."""
    found = locate.between(good, bad, feed, tensors).first_wrong
    return found.tensor if found else None


def case_feeds(part: Part, signature: Signature) -> list[Outputs]:
    """The inputs of a part's cases, cut or padded where `signature` is static."""
    return [fit_feed(case.inputs, signature) for case in part.cases]


def reference_outputs(part: Part, feeds: Sequence[Feed]) -> list[Outputs]:
    """The verified fp32 program's outputs, the reference where the source framework recorded none."""
    return run(REFERENCE_SESSION, part.path, part.signature, feeds, 1)


def blame(session_name: str, good: Path, bad: Path, feed: Feed, result: Parity) -> None:
    """Name in `result` the first tensor of a quantized file that went wrong, and the worst ones.

    Tensors are those that the float and the quantized file share. Nothing is named when the runtime
    cannot show intermediate tensors.
    """
    show = sessions.get(session_name).tensors
    reference, got = show(good, feed), show(bad, feed)
    shared = [name for name in got if name in reference and reference[name].shape == got[name].shape]
    reference, got = {n: reference[n] for n in shared}, {n: got[n] for n in shared}
    result.worst = locate.worst(reference, got)
    result.first_wrong = locate.first_below(reference, got, result.gate.get("cosine", _LOW_COSINE))
