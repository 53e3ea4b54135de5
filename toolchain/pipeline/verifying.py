"""`edgepack verify`: is a bundle still what its manifest says, and do its artifacts still agree?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgepack.toolchain import parity
from edgepack.toolchain.bundle import Bundle, Problem, verify_hashes
from edgepack.toolchain.errors import BundleError
from edgepack.toolchain.pipeline import judging, recording
from edgepack.toolchain.program import Signature
from edgepack.toolchain.results import ArtifactResult, Parity


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
    return parity.compare(
        reference, got, facts.gate, reference_name=artifact.parity.reference, data="recorded cases"
    )
