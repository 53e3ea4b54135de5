"""A part split for an accelerator: its lookups stay on the host, in a graph of their own (`toolchain.splitting`).

Both graphs are checked as any part is, on the source framework's recorded calls: what the host's part gives is what
the whole graph has there, and what the other makes of it are the recorded outputs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize.base import CalibrationData
from edgepack.quantize.data import fit_feed
from edgepack.quantize.samples import SampleFile, Samples
from edgepack.toolchain.errors import GateError, TargetError
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.workbench import Workbench, versions
from edgepack.toolchain.program import Case, Part, Program, Signature
from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.results import Parity, StageRecord
from edgepack.toolchain.splitting import core_side, find_cut, host_side, spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from edgepack.toolchain.program import TensorSpec

LOOKUP, CORE = "lookup", "core"
_OPTION = "--host lookups"


def split(bench: Workbench, program: Program, part: Part, folder: Path) -> tuple[Program, Path]:
    """The program of two parts, `lookup` and `core`, and its stage.

    Args:
        bench: The run's tools.
        program: The verified program.
        part: The part of it that is split.
        folder: Its folder in the cache.

    Raises:
        TargetError: There is nothing to split, or it cannot be cut where it should be.
        GateError: The two parts do not compute what the one does.
    """

    def build(out: Path, record: StageRecord) -> None:
        made = _split(program, part, out)
        found = {one.name: judging.judge_part(one) for one in made}
        for name, parity in found.items():
            if not parity.passed:
                raise GateError(
                    f"The part {name} does not compute what the whole does: {'; '.join(parity.failed)}",
                    where=_OPTION,
                    todo="Report it together with the model",
                )
        record.parity = _worst(found)
        record.detail = (
            f"{', '.join(spec.name for spec in made.parts[LOOKUP].signature.outputs)} from the host"
        )
        made.save(out)

    key = {"program": bench.digest(folder), "part": part.name, "versions": versions("onnx-ir", "onnxruntime")}
    out = bench.keep("split lookups off", key, build, part=part.name)
    return Program.load(out), out


def _worst(found: Mapping[str, Parity]) -> Parity:
    return min(found.values(), key=lambda parity: (parity.min_cosine is None, parity.min_cosine or 0.0))


def _split(program: Program, part: Part, out: Path) -> Program:
    from edgepack.toolchain.passes.storage import save_all

    host, core = part.model(), part.model()
    cut = None if already_quantized(host) is not None else find_cut(host)
    if cut is None:
        raise TargetError(
            "The model looks up no table of floating-point numbers by its inputs: there is nothing for the host",
            where=f"{_OPTION}, part {part.name}",
            todo="Leave the option out",
        )
    seen = [judging.tensors(part.path, case.inputs, cut.values) for case in part.cases]
    specs: dict[str, TensorSpec] = {}
    for name in cut.values:
        spec = spec_of(name, part.signature, part.cases, [one[name] for one in seen])
        if spec is None:
            raise TargetError(
                f"The size of '{name}', which the host would give, follows from no named dimension",
                where=f"{_OPTION}, part {part.name}",
                todo="Leave the option out",
            )
        specs[name] = spec
    host_side(host, cut)
    core_side(core, cut, {name: spec.shape for name, spec in specs.items()})
    # Written anew: the core's file is what goes to the accelerator, and has no table in it.
    paths = save_all({LOOKUP: host, CORE: core}, out, "weights", reuse=False)
    known = {spec.name: spec for spec in part.signature.inputs} | specs
    signatures = {
        LOOKUP: Signature(tuple(known[str(v.name)] for v in host.graph.inputs), tuple(specs.values())),
        CORE: Signature(tuple(known[str(v.name)] for v in core.graph.inputs), part.signature.outputs),
    }
    parts = {}
    for name, signature in signatures.items():
        cases = []
        for case, values in zip(part.cases, seen, strict=True):
            have: dict[str, np.ndarray] = {**case.inputs, **values}
            outputs = (
                {spec.name: values[spec.name] for spec in specs.values()} if name == LOOKUP else case.outputs
            )
            cases.append(Case(case.label, {spec.name: have[spec.name] for spec in signature.inputs}, outputs))
        parts[name] = Part(name, paths[name], signature, cases)
    # What follows works on these graphs, and not on what the source framework could be asked for.
    return Program(parts, (), {**program.source, "kind": "onnx"}, program.notes)


def through(data: CalibrationData, pinned: Signature, lookup: Part, core: Signature) -> CalibrationData:
    """Data of the whole part as the core sees it.

    Args:
        data: For the whole part.
        pinned: Its inputs in the sizes that are built: padded here, where masks still are what they were.
        lookup: The host's part; run in floating point.
        core: The signature of the other.
    """
    feeds = [fit_feed(feed, pinned) for side in (data.samples, data.held_out) for feed in side]
    names = [spec.name for spec in lookup.signature.inputs]
    with judging.open_session(judging.REFERENCE_SESSION, lookup.path, lookup.signature, 1) as session:

        def seen(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            known = {**feed, **session.run({name: feed[name] for name in names})}
            return {spec.name: known[spec.name] for spec in core.inputs}

        file = SampleFile(seen(feed) for feed in feeds)
    count = len(data.samples)
    digest = hashlib.sha256(f"{data.fingerprint} {pinned.inputs} {core.inputs} core".encode()).hexdigest()
    return CalibrationData(
        data.facts, Samples(file, range(count)), Samples(file, range(count, len(file))), digest
    )
