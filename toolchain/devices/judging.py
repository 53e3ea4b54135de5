"""Do the device's outputs agree with the bundle's references? Asked before any latency is believed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import parity
from edgepack.toolchain.devices.subject import Subject, calls_of, facts_of
from edgepack.toolchain.errors import DeviceError, GateError
from edgepack.toolchain.pipeline.judging import first_wrong_output
from edgepack.toolchain.results import Parity

if TYPE_CHECKING:
    import numpy as np


def judge(subject: Subject, outputs: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> dict[str, Parity]:
    """Compare the device's outputs of every part, and of the calls in a row, with their references.

    Args:
        subject: The target.
        outputs: Of every call, by part.

    Raises:
        DeviceError: The device left outputs out.
        GateError: They disagree; the first output that does is named.
    """
    found = {}
    for artifact in subject.artifacts:
        facts = facts_of(artifact)
        _, reference = calls_of(subject.bundle, facts.cases)
        found[artifact.part] = _compare(
            subject, artifact.part, reference, outputs, facts.gate, artifact.parity.reference
        )
    if subject.calls is not None and subject.program is not None:
        name, file = subject.calls
        _, reference = calls_of(subject.bundle, file)
        gate = subject.program.rollout.gate if subject.program.rollout else parity.FLOAT_GATE
        found[name] = _compare(subject, name, reference, outputs, gate, "source framework")
    return found


def _compare(
    subject: Subject,
    name: str,
    reference: list[dict[str, np.ndarray]],
    outputs: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    gate: Mapping[str, float],
    made_by: str,
) -> Parity:
    if name not in outputs:
        raise DeviceError(f"The device gave no outputs of {name}")
    got = [dict(call) for call in outputs[name]]
    if len(got) != len(reference):
        raise DeviceError(f"The device gave {len(got)} results of {name} for {len(reference)} calls")
    result = parity.compare(
        reference, got, gate, reference_name=made_by, data="recorded cases, on the device"
    )
    if not result.passed:
        result.first_wrong = first_wrong_output(reference, got)
        raise GateError(
            f"On the device {subject.target} gives other outputs than it should: {name}: "
            f"{'; '.join(result.failed[:3])}",
            where=f"first wrong output: {result.first_wrong or 'none by itself'}",
            todo="Compare the runtime's version there with the bundle's; no latency is given for wrong outputs",
        )
    return result


def read_outputs(file: Path, name: str) -> list[dict[str, np.ndarray]]:
    """Outputs by name, call by call, of a file with "<call>/<output>"; `name` is the part's, for errors.

    Raises:
        DeviceError: It is not such a file.
    """
    import numpy as np

    calls: dict[int, dict[str, np.ndarray]] = {}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                index, _, output = key.partition("/")
                calls.setdefault(int(index), {})[output] = arrays[key]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DeviceError(f"The device's outputs of {name} cannot be read: {error}") from error
    return [calls.get(index, {}) for index in range(max(calls, default=-1) + 1)]
