"""Opening a target's parts of a bundle as one program that keeps its states between calls."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._inputs import check_inputs
from edgepack.runtime.sessions.base import Session
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.errors import BundleError, UnknownNameError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.program import Signature, StateLink
from edgepack.toolchain.whole import Whole

if TYPE_CHECKING:
    import numpy as np


@contextlib.contextmanager
def open_program(bundle: Bundle, target: str, *, threads: int = 1) -> Iterator[StatefulProgram]:
    """The parts of `target`, loaded; closed at the end of the with statement.

    Parts that stand for one, as buckets of a length do, are called by that one's name with inputs of any size.

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
        sessions: dict[str, Session] = {}
        signatures = {}
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
        if program is not None and program.whole is not None:
            whole = read_whole(program.whole, signatures, bundle)
            yield StatefulProgram(
                {whole.name: whole.signature}, [], lambda _, feed: _called(whole, feed, sessions, target)
            )
            return
        yield StatefulProgram(signatures, links, lambda part, feed: sessions[part].run(feed), initial)


def read_whole(data: Mapping[str, Any], parts: Collection[str], bundle: Bundle) -> Whole:
    """What a manifest says of a whole.

    Raises:
        BundleError: It is damaged, or names parts that the bundle does not have.
    """
    try:
        whole = Whole.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"The manifest's whole cannot be read: {error!r}", where=str(bundle.path)
        ) from error
    missing = {step for way in whole.variants for step in way.steps} - set(parts)
    if missing or not whole.variants:
        raise BundleError(
            f"The manifest names the part '{min(missing, default='')}' and has no artifact of it",
            where=str(bundle.path),
        )
    return whole


@contextlib.contextmanager
def run_whole(
    whole: Whole, files: Mapping[str, tuple[str, Path, Signature]], where: str
) -> Iterator[Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]]:
    """What calls a whole by the files of its parts, which are open inside the with statement.

    Args:
        whole: What is called.
        files: Session, file and signature by part.
        where: For messages about inputs.
    """
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(judging.open_session(session, path, signature, 1))
            for name, (session, path, signature) in files.items()
        }
        yield lambda feed: _called(whole, feed, opened, where)


def _called(
    whole: Whole, feed: Mapping[str, np.ndarray], opened: Mapping[str, Session], where: str
) -> dict[str, np.ndarray]:
    check_inputs(whole.signature, feed, f"{where}, part {whole.name}")
    return whole.call(
        feed,
        lambda part, inputs: opened[part].run(inputs),
        {name: session.signature for name, session in opened.items()},
    )


def _initial(bundle: Bundle, name: str) -> Mapping[str, Mapping[str, np.ndarray]]:
    import numpy as np

    found: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(bundle.file(name), allow_pickle=False) as arrays:
            for key in arrays.files:
                part, _, state = key.partition("/")
                found.setdefault(part, {})[state] = arrays[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"The first states cannot be read: {error}", where=name) from error
    return found
