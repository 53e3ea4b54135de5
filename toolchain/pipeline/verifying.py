"""`edgepack verify`: is a bundle still what its manifest says, and do its artifacts still agree?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgepack.toolchain import parity
from edgepack.toolchain.bundle import Bundle, Problem, verify_hashes
from edgepack.toolchain.errors import BundleError
from edgepack.toolchain.pipeline import judging, recording
from edgepack.toolchain.pipeline.opening import open_program
from edgepack.toolchain.program import Signature
from edgepack.toolchain.results import ArtifactResult, Parity, ProgramResult


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        problems: Files that are missing, extra or changed.
        parities: Agreement now, by "target part precision".
    """

    problems: list[Problem]
    parities: dict[str, Parity]

    @property
    def ok(self) -> bool:
        """Whether every hash and every artifact holds."""
        return not self.problems and all(result.passed for result in self.parities.values())


def verify(bundle: Bundle, *, tell: Callable[[str], object] = lambda _: None) -> Verification:
    """Check all hashes; if they hold, run every artifact's recorded cases again.

    Files that changed are never run: a damaged artifact is not opened by a runtime.

    Args:
        bundle: From `edgepack.load`.
        tell: Called with a sentence when a step begins.
    """
    tell("hashes")
    problems = verify_hashes(bundle)
    parities = {}
    if not problems:
        for artifact in bundle.artifacts:
            name = f"{artifact.target} {artifact.part} {artifact.precision}"
            tell(name)
            parities[name] = _again(bundle, artifact)
        for program in bundle.manifest.programs:
            if program.cases is not None:
                name = f"{program.target} calls in a row"
                tell(name)
                parities[name] = _in_a_row(bundle, program)
    return Verification(problems, parities)


def _again(bundle: Bundle, artifact: ArtifactResult) -> Parity:
    facts = artifact.run
    if facts is None:
        raise BundleError(f"The manifest does not say how {artifact.target} is run", where=str(bundle.path))
    try:
        feeds, reference = recording.read(bundle.file(facts.cases))
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"The recorded cases cannot be read: {error}", where=facts.cases) from error
    signature = Signature.from_json(facts.signature)
    got = judging.run(facts.session, bundle.file(facts.file), signature, feeds, 1)
    found = parity.compare(
        reference, got, facts.gate, reference_name=artifact.parity.reference, data="recorded cases"
    )
    return found.model_copy(update={"unverified": artifact.parity.unverified})


def _in_a_row(bundle: Bundle, program: ProgramResult) -> Parity:
    """The recorded calls through a target's parts, from a fresh state."""
    assert program.cases is not None  # noqa: S101 - asked by the caller
    try:
        feeds, reference = recording.read(bundle.file(program.cases))
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"The recorded calls cannot be read: {error}", where=program.cases) from error
    with open_program(bundle, program.target) as opened:
        got = [opened.call(part, feed) for part, feed in zip(program.calls, feeds, strict=True)]
    gate = program.rollout.gate if program.rollout else parity.FLOAT_GATE
    return parity.compare(reference, got, gate, data=f"{len(got)} calls in a row")
