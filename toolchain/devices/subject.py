"""What is brought to a device: a target's files of a bundle, with inputs and what must come of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.devices.runner.archive import NAME as RUNNER
from edgepack.runtime.devices.runner.archive import SESSIONS
from edgepack.runtime.devices.runner.archive import write as write_runner
from edgepack.runtime.devices.runner.check import CALLS
from edgepack.toolchain import files
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.errors import BundleError, TargetError, UnknownNameError
from edgepack.toolchain.pipeline import recording
from edgepack.toolchain.results import ArtifactResult, ProgramResult, RunFacts

if TYPE_CHECKING:
    import numpy as np

_PREFIX = "bundle/"
# The numerics of an NPU's file run on a processor too; how long that takes says nothing of the NPU.
_NO_PROCESSOR = "npu"


@dataclass(frozen=True)
class Subject:
    """A target's artifacts.

    Attributes:
        bundle: Where they lie.
        target: Its name.
        artifacts: One a part.
        program: What links them, where there are several.
    """

    bundle: Bundle
    target: str
    artifacts: tuple[ArtifactResult, ...]
    program: ProgramResult | None

    @property
    def calls(self) -> tuple[str, str] | None:
        """Unit's name and file of the recorded calls in a row, where there are any."""
        program = self.program
        if program is None or program.cases is None or program.whole is not None:
            return None  # what stands for one part is checked part by part: the choice among them is the caller's
        return CALLS, program.cases

    def units(self) -> list[dict[str, Any]]:
        """What is measured: every part by itself, and the calls in a row."""
        found: list[dict[str, Any]] = [
            {
                "name": artifact.part,
                "linked": False,
                "calls": [{"part": artifact.part}],
                "feed": f"feeds/{index}.npz",
            }
            for index, artifact in enumerate(self.artifacts)
        ]
        if self.calls is not None and self.program is not None:
            found.append(
                {"name": CALLS, "linked": True, "calls": [{"part": part} for part in self.program.calls]}
            )
        return found


def subjects(
    bundle: Bundle, target: str | None, suffixes: Collection[str] = ()
) -> tuple[list[Subject], dict[str, str]]:
    """The targets of a bundle that a device's Python runs, or a tool there, and why the others do not.

    Args:
        bundle: Loaded.
        target: Only this one.
        suffixes: Of the files that tools run.

    Raises:
        UnknownNameError: The bundle has no such target.
        TargetError: None of them runs there.
    """
    names = list(dict.fromkeys(artifact.target for artifact in bundle.artifacts))
    if target is not None and target not in names:
        raise UnknownNameError("target", target, names, where=str(bundle.path))
    found, left = [], {}
    for name in names if target is None else [target]:
        artifacts = tuple(artifact for artifact in bundle.artifacts if artifact.target == name)
        why = _why_not(name, artifacts, suffixes)
        if why:
            left[name] = why
            continue
        program = next((p for p in bundle.manifest.programs if p.target == name), None)
        found.append(Subject(bundle, name, artifacts, program))
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in left.items()) or "it holds no artifact"
        raise TargetError(
            f"Nothing of the bundle runs on a device's processor ({reasons})",
            where=str(bundle.path),
            todo="Export with --target cpu:onnxruntime or mobile:litert",
        )
    return found, left


def _why_not(name: str, artifacts: tuple[ArtifactResult, ...], suffixes: Collection[str]) -> str | None:
    if name.partition(":")[0] == _NO_PROCESSOR:
        return "its accelerator is not what the device's Python would run it on"
    for artifact in artifacts:
        if artifact.run is None:
            return "the manifest does not say how it is run"
        if artifact.run.file.endswith(tuple(suffixes)):
            continue
        if artifact.run.session not in SESSIONS:
            return f"the runner has no {artifact.run.session}; it has {', '.join(SESSIONS)}"
    return None


def facts_of(artifact: ArtifactResult) -> RunFacts:
    """How an artifact is run; `subjects` leaves out those that do not say it."""
    if artifact.run is None:
        raise BundleError(f"The manifest does not say how {artifact.target} is run")
    return artifact.run


def feed(subject: Subject, artifact: ArtifactResult) -> dict[str, np.ndarray]:
    """The input that is timed: the first recorded row, in the sizes that the host timed, where it did."""
    first = calls_of(subject.bundle, facts_of(artifact).cases)[0][0]
    shapes = artifact.latency.shapes if artifact.latency else {}
    return {
        name: recording.first_row(value, shapes[name]) if name in shapes and value.size else value
        for name, value in first.items()
    }


def calls_of(bundle: Bundle, name: str) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Recorded inputs and references of a file of the bundle.

    Raises:
        BundleError: It cannot be read.
    """
    try:
        return recording.read(bundle.file(name))
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"The recorded calls cannot be read: {error}", where=name) from error


def checked_file(bundle: Bundle, name: str) -> tuple[str, Path, str]:
    """A bundle's file: its name on the device, its path here, its SHA-256.

    Raises:
        BundleError: It is not what the manifest says.
    """
    path = bundle.file(name)
    found = files.hash_file(path).sha256
    if found != bundle.manifest.files[name].sha256:
        raise BundleError(
            f"The file {name} is not the one of the manifest",
            where=str(bundle.path),
            todo="Build the bundle again with edgepack export",
        )
    return _PREFIX + name, path, found


def gather(subject: Subject, folder: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, Any]]:
    """The files that go to the device, by their names there, and the part of a request that names them.

    First those that it keeps, then those of this run alone.

    Args:
        subject: The target.
        folder: For files that are made here.

    Raises:
        BundleError: A file is not what the manifest says.
    """
    import numpy as np

    bundle = subject.bundle
    wanted: dict[str, Path] = {}
    own: dict[str, Path] = {}
    sha256: dict[str, str] = {}

    def of_bundle(name: str) -> str:
        place, wanted_file, found = checked_file(bundle, name)
        wanted[place], sha256[place] = wanted_file, found
        return place

    (folder / "feeds").mkdir(parents=True, exist_ok=True)
    parts = []
    for index, artifact in enumerate(subject.artifacts):
        facts = facts_of(artifact)
        for name in artifact.files:
            of_bundle(name)
        place = f"feeds/{index}.npz"
        np.savez(folder / place, **feed(subject, artifact))  # type: ignore[arg-type]
        own[place] = folder / place
        parts.append(
            {
                "name": artifact.part,
                "session": facts.session,
                "file": of_bundle(facts.file),
                "signature": facts.signature,
                "cases": of_bundle(facts.cases),
            }
        )
    write_runner(folder / RUNNER)
    wanted[RUNNER] = folder / RUNNER
    program = subject.program
    request: Mapping[str, Any] = {
        "parts": parts,
        "links": program.links if program else [],
        "initial": of_bundle(program.initial) if program and program.initial else None,
        "calls": {"file": of_bundle(subject.calls[1]), "parts": program.calls}
        if program and subject.calls
        else None,
        "sha256": sha256,
    }
    return wanted, own, dict(request)
