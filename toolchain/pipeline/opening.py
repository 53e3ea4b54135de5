"""Opening a target's parts of a bundle as one program that keeps its states between calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.errors import BundleError, UnknownNameError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.program import Signature, StateLink

if TYPE_CHECKING:
    import numpy as np


@contextlib.contextmanager
def open_program(bundle: Bundle, target: str, *, threads: int = 1) -> Iterator[StatefulProgram]:
    """The parts of `target`, loaded; closed at the end of the with statement.

    Args:
        bundle: From `edgepack.load` or `edgepack.export`.
        target: Name of a target that shipped.
        threads: Threads within one operator.

    Raises:
        UnknownNameError: The bundle has no artifact for that target.
        BundleError: Its files or its states cannot be read.
    """
    artifacts = [artifact for artifact in bundle.artifacts if artifact.target == target]
    if not artifacts:
        raise UnknownNameError("target", target, {a.target for a in bundle.artifacts}, where=str(bundle.path))
    with contextlib.ExitStack() as stack:
        sessions, signatures = {}, {}
        for artifact in artifacts:
            facts = artifact.run
            if facts is None:
                raise BundleError(
                    f"The manifest does not say how {artifact.target} is run", where=str(bundle.path)
                )
            signature = Signature.from_json(facts.signature)
            signatures[artifact.part] = signature
            sessions[artifact.part] = stack.enter_context(
                judging.open_session(facts.session, bundle.file(facts.file), signature, threads)
            )
        program = next((p for p in bundle.manifest.programs if p.target == target), None)
        links = [StateLink(**link) for link in program.links] if program else []
        initial = _initial(bundle, program.initial) if program and program.initial else {}
        yield StatefulProgram(signatures, links, lambda part, feed: sessions[part].run(feed), initial)


def _initial(bundle: Bundle, name: str) -> Mapping[str, Mapping[str, np.ndarray]]:
    import numpy as np

    found: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(bundle.file(name), allow_pickle=False) as arrays:
            for key in arrays.files:
                part, _, state = key.partition("/")
                found.setdefault(part, {})[state] = arrays[key]
    except (OSError, ValueError) as error:
        raise BundleError(f"The first states cannot be read: {error}", where=name) from error
    return found
