"""A lowered file against the program that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain import parity
from edgepack.toolchain.errors import GateError
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.as_written import came_quantized, run_as_written
from edgepack.toolchain.quantized import AS_GIVEN

if TYPE_CHECKING:
    from edgepack.targets.base import Target
    from edgepack.toolchain.program import Lowered, Part
    from edgepack.toolchain.results import StageRecord


def check_lowered(part: Part, lowered: Lowered, target: Target, record: StageRecord) -> None:
    """Compare what a lowered file computes with what its part does, on the part's cases; kept in `record`.

    Raises:
        GateError: They do not agree.
    """
    feeds = judging.case_feeds(part, lowered.signature)
    static = any(
        a.shape != b.shape for a, b in zip(lowered.signature.inputs, part.signature.inputs, strict=True)
    )
    recorded = [case.outputs for case in part.cases]
    reference = judging.reference_outputs(part, feeds) if static else recorded
    gate = parity.FLOAT_GATE
    if lowered.format == "onnx" and came_quantized(lowered.path):
        got = run_as_written(lowered.path, lowered.signature, feeds)
    else:
        session = target.lowered_session or target.session
        got = judging.run(session, lowered.path, lowered.signature, feeds, 1)
        if lowered.precision == AS_GIVEN:  # another runtime's integer kernels, which round elsewhere
            gate = parity.default_gate(AS_GIVEN)
    name = "fp32 program" if static else "source framework"
    record.parity = parity.compare(reference, got, gate, reference_name=name)
    if not record.parity.passed:
        wrong = judging.first_wrong_output(reference, got)
        if lowered.format == "onnx":
            wrong = judging.first_wrong_between(part.path, lowered.path, feeds[0]) or wrong
        raise GateError(
            f"The lowered file disagrees with the program: {'; '.join(record.parity.failed)}",
            where=f"{target.name}, first wrong tensor: {wrong}" if wrong else target.name,
            todo="Report it together with the model",
        )
