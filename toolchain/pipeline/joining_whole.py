"""The forms of a part brought together: called as a caller will, and judged against the program that takes any size.

Every form has passed its own gate, on inputs of its own size. What only the whole can get wrong is the choice of the
form, the padding, and what of the outputs is cut off: so it is called with real inputs that fill no bucket, and
compared with the float program on those inputs as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.quantize.data import fit_feed
from edgepack.toolchain import parity
from edgepack.toolchain.errors import GateError
from edgepack.toolchain.pipeline import judging, recording
from edgepack.toolchain.pipeline.joining import Joined, one_file, share
from edgepack.toolchain.pipeline.opening import run_whole
from edgepack.toolchain.pipeline.padding import short_feeds
from edgepack.toolchain.pipeline.workbench import RECORDS_FILE, Workbench, read_json, target_versions
from edgepack.toolchain.program import Call, Signature, TensorSpec
from edgepack.toolchain.results import Failure, StageRecord

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from edgepack.toolchain.pipeline.candidate import Candidate
    from edgepack.toolchain.pipeline.candidates import Builder
    from edgepack.toolchain.pipeline.making import Made
    from edgepack.toolchain.whole import Variant, Whole

_EACH = 4


def join_whole(bench: Workbench, entries: Sequence[Made]) -> Joined:
    """Judge one target's forms of a part as the whole that they stand for.

    Args:
        bench: The run's tools.
        entries: What the target gave for every form; `chosen` becomes None where the whole is wrong.
    """
    target = entries[0].candidates[0].target
    there = {entry.builder.part.name: entry for entry in entries if entry.chosen is not None}
    whole = entries[0].builder.whole
    assert whole is not None  # noqa: S101 - asked by the caller
    ways = tuple(way for way in whole.variants if set(way.steps) <= there.keys())
    joined = Joined(target.name)
    if not ways:
        return joined
    whole = replace(whole, variants=ways)
    chosen = {name: entry.chosen for name, entry in there.items() if entry.chosen is not None}
    folder = _judged(bench, whole, there, chosen)
    result = StageRecord.model_validate(read_json(folder / RECORDS_FILE)).parity
    assert result is not None  # noqa: S101 - `_judged` writes it
    if not result.passed:
        for name, entry in there.items():
            entry.rejected = [chosen[name]]
            entry.choose(None, "")
        error = GateError(
            f"Called as one, the parts {', '.join(chosen)} differ from the program: {'; '.join(result.failed)}",
            where=target.name,
            todo="They are kept under rejected/; try another --precision of the target, or real --calibration data",
        )
        joined.failure = Failure(target=target.name, error=str(error), exit_code=error.exit_code)
        return joined
    together = len(chosen) > 1 and len({type(candidate.target) for candidate in chosen.values()}) == 1
    if together and target.session == judging.REFERENCE_SESSION:
        chosen, joined.shared_bytes = share(bench, chosen)
    elif together:
        chosen, joined.shared_bytes = one_file(bench, target, list(there.values()), chosen)
    for name, entry in there.items():
        entry.chosen = chosen[name]
    joined.parts, joined.rollout, joined.whole = chosen, result, whole
    feeds, outputs = recording.read(folder / recording.CASES_FILE)
    joined.calls = [Call(whole.name, feed, out) for feed, out in zip(feeds, outputs, strict=True)]
    return joined


def _judged(bench: Workbench, whole: Whole, there: dict[str, Made], chosen: dict[str, Candidate]) -> Path:
    """Stage of the calls and of how well they agree."""
    target = next(iter(chosen.values())).target
    first = next(iter(there.values())).builder.origin
    assert first is not None  # noqa: S101 - a whole has one
    gates = [there[name].builder.gate(candidate.offer) for name, candidate in chosen.items()]
    gate = parity.widest(gates)
    quantized = any(candidate.offer.quantizer is not None for candidate in chosen.values())

    def build(folder: Path, record: StageRecord) -> None:
        feeds = [feed for way in whole.variants for feed in _feeds(first, way, quantized=quantized)]
        reference = judging.reference_outputs(first.part, feeds)
        files = {
            name: (candidate.target.session, candidate.run_path, candidate.lowered.signature)
            for name, candidate in chosen.items()
            if candidate.lowered is not None
        }
        with run_whole(whole, files, target.name) as call:
            got = [call(feed) for feed in feeds]
        record.parity = parity.compare(
            reference,
            got,
            gate,
            reference_name="fp32 program without padding",
            data=f"{len(feeds)} calls of the whole, each padded to the smallest bucket that holds it",
        )
        recording.write_calls(folder / recording.CASES_FILE, list(zip(feeds, reference, strict=True)))

    key = {
        "program": bench.digest(first.folder),
        "whole": whole.to_json(),
        "parts": {name: bench.digest(one.folder) for name, one in chosen.items() if one.folder},
        "data": first.data.fingerprint if quantized else "cases",
        "sessions": [candidate.target.session for candidate in chosen.values()],
        "gate": gate,
        "versions": target_versions(target, "onnxruntime"),
    }
    return bench.keep("padded calls", key, build, target=target.name)


def _feeds(builder: Builder, way: Variant, *, quantized: bool) -> list[dict[str, np.ndarray]]:
    """Inputs that do not fill a form: of the held-out data where it is quantized, else of the recorded cases."""
    short = short_feeds(builder.part, way, builder.sizes)
    if not quantized:
        return short
    data = builder.data.held_out
    return [
        fit_feed(data[index], _like(builder.part.signature, short[index % len(short)]))
        for index in range(min(_EACH, len(data)))
    ]


def _like(signature: Signature, feed: dict[str, np.ndarray]) -> Signature:
    """The inputs in the sizes of a feed."""
    inputs = [TensorSpec(spec.name, spec.dtype, feed[spec.name].shape) for spec in signature.inputs]
    return Signature(tuple(inputs), signature.outputs)
