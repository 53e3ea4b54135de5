"""A target's calls as the native runner takes them: every input in the file's own type, first states included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgepack.runtime.devices.native.request import Part, Unit
from edgepack.toolchain.devices.subject import Subject, calls_of, checked_file, facts_of, feed
from edgepack.toolchain.errors import BundleError, TargetError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Signature, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.results import ArtifactResult

    Arrays = Mapping[str, np.ndarray]


def parts_of(subject: Subject) -> list[Part]:
    """Its parts, each with its file's name on the device."""
    found = []
    for artifact in subject.artifacts:
        signature = _signature(artifact)
        place, _, _ = checked_file(subject.bundle, facts_of(artifact).file)
        inputs, outputs = (
            tuple(spec.name for spec in side) for side in (signature.inputs, signature.outputs)
        )
        found.append(Part(artifact.part, place, inputs, outputs))
    return found


def check_units(subject: Subject) -> list[Unit]:
    """Every part's recorded calls, and the program's calls in a row."""
    found = []
    for artifact in subject.artifacts:
        feeds, _ = calls_of(subject.bundle, facts_of(artifact).cases)
        casts = _casts(subject, artifact)
        calls = tuple((artifact.part, _cast(one, casts)) for one in feeds)
        found.append(Unit(artifact.part, linked=False, calls=calls))
    return [*found, *_row(subject)]


def measure_units(subject: Subject) -> list[Unit]:
    """Every part's timed call, and the program's calls in a row."""
    found = [
        Unit(
            artifact.part,
            linked=False,
            calls=((artifact.part, _cast(feed(subject, artifact), _casts(subject, artifact))),),
        )
        for artifact in subject.artifacts
    ]
    return [*found, *_row(subject)]


def _row(subject: Subject) -> list[Unit]:
    """The calls in a row: what is given to each, and the first value of a state that no call before it hands on."""
    if subject.calls is None or subject.program is None:
        return []
    name, file = subject.calls
    feeds, _ = calls_of(subject.bundle, file)
    links = [StateLink(**link) for link in subject.program.links]
    signatures = {artifact.part: _signature(artifact) for artifact in subject.artifacts}
    casts = {artifact.part: _casts(subject, artifact) for artifact in subject.artifacts}
    initial: dict[str, dict[str, np.ndarray]] = {}
    if subject.program.initial:
        import numpy as np

        with np.load(subject.bundle.file(subject.program.initial), allow_pickle=False) as arrays:
            for key in arrays.files:
                part, _, state = key.partition("/")
                initial.setdefault(part, {})[state] = arrays[key]
    # Never called, so that every state has its first value.
    fresh = StatefulProgram(signatures, links, lambda _part, _inputs: {}, initial)
    handed: set[tuple[str, str]] = set()
    calls = []
    for part, given in zip(subject.program.calls, feeds, strict=True):
        full = fresh.feed(part, given)
        mine = {key: value for key, value in full.items() if key in given or (part, key) not in handed}
        calls.append((part, _cast(mine, casts[part])))
        handed |= {(link.to_part, link.input) for link in links if link.from_part == part}
    return [Unit(name, linked=True, calls=tuple(calls))]


def _signature(artifact: ArtifactResult) -> Signature:
    return Signature.from_json(facts_of(artifact).signature)


def _casts(subject: Subject, artifact: ArtifactResult) -> dict[str, np.dtype[np.generic]]:
    """The types of the file's own inputs.

    Raises:
        TargetError: An input is text.
        BundleError: The file cannot be read.
    """
    import onnx_ir as ir

    name = facts_of(artifact).file
    try:
        model = ir.load(subject.bundle.file(name))
    except Exception as error:
        raise BundleError(f"The model cannot be read: {error}", where=name) from error
    found = {}
    for value in model.graph.inputs:
        if value.dtype is None or value.dtype == ir.DataType.STRING:
            raise TargetError(
                f"The runner without Python cannot give the input '{value.name}': it is no tensor of numbers",
                where=subject.target,
                todo="Use the device's Python: --runner python",
            )
        found[str(value.name)] = value.dtype.numpy()
    return found


def _cast(given: Arrays, casts: Mapping[str, np.dtype[np.generic]]) -> dict[str, np.ndarray]:
    return {name: value.astype(casts[name], copy=False) for name, value in given.items()}
