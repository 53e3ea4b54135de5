"""Running graphs and artifacts on recorded inputs, and judging them against their reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize.data import fit_feed
from edgepack.runtime.sessions.base import Session, sessions
from edgepack.toolchain import locate, parity
from edgepack.toolchain.program import Part, Signature
from edgepack.toolchain.results import Parity, TensorError

if TYPE_CHECKING:
    import numpy as np

    Feed = Mapping[str, np.ndarray]
    Outputs = dict[str, np.ndarray]

REFERENCE_SESSION = "onnxruntime"


def run(
    session_name: str, path: Path, signature: Signature, feeds: Iterable[Feed], threads: int
) -> list[Outputs]:
    """Outputs of an artifact for every feed."""
    with open_session(session_name, path, signature, threads) as session:
        return [session.run(feed) for feed in feeds]


def open_session(session_name: str, path: Path, signature: Signature, threads: int) -> Session:
    """A session of the named runtime."""
    return sessions.get(session_name)(path, signature, threads=threads)


def judge_part(part: Part) -> Parity:
    """A part's graph against the source framework's recorded outputs, on every case."""
    got = run(REFERENCE_SESSION, part.path, part.signature, (case.inputs for case in part.cases), 1)
    result = parity.compare(part.cases, got, parity.FLOAT_GATE)
    if not result.passed:
        result.first_wrong = _first_wrong_output(part, got)
    return result


def _first_wrong_output(part: Part, got: Sequence[Outputs]) -> str | None:
    """The first output beyond tolerance; the source framework recorded nothing further in."""
    for spec in part.signature.outputs:
        for case, outputs in zip(part.cases, got, strict=True):
            one = parity.compare([{spec.name: case.outputs[spec.name]}], [outputs], parity.FLOAT_GATE)
            if not one.passed:
                return spec.name
    return None


def first_wrong_between(good: Path, bad: Path, feed: Feed) -> str | None:
    """The first tensor that two ONNX files both name and disagree on."""
    from edgepack.runtime.sessions.onnxruntime import tensors

    found = locate.between(good, bad, feed, tensors).first_wrong
    return found.tensor if found else None


def case_feeds(part: Part, signature: Signature) -> list[Outputs]:
    """The inputs of a part's cases, cut or padded where `signature` is static."""
    return [fit_feed(case.inputs, signature) for case in part.cases]


def reference_outputs(part: Part, feeds: Sequence[Feed]) -> list[Outputs]:
    """The verified fp32 program's outputs, the reference where the source framework recorded none."""
    return run(REFERENCE_SESSION, part.path, part.signature, feeds, 1)


def worst_tensors(session_name: str, good: Path, bad: Path, feed: Feed) -> list[TensorError]:
    """Tensors that a float and a quantized file share, by the error that quantization brought in.

    Empty when the runtime cannot show intermediate tensors.
    """
    show = sessions.get(session_name).tensors
    reference, got = show(good, feed), show(bad, feed)
    shared = [name for name in reference if name in got and reference[name].shape == got[name].shape]
    return locate.worst({n: reference[n] for n in shared}, {n: got[n] for n in shared})
