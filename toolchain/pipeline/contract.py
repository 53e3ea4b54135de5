"""What a target hands back is what `targets.base` says it does: asked of every target, for anybody can write one.

Whatever is wrong fails that target, with exit code 4 and the method that is to blame; an exception that the target did
not mean to raise fails it too, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.targets.base import Compiled, Offer, Target
from edgepack.toolchain.errors import EdgepackError, TargetError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.recipe import PRECISIONS, SEVERAL_FORMS
from edgepack.toolchain.results import Placement, Tool

_SHOWN = 80
_PLAIN = {"fp32", "as-given", "mixed"}
_KNOWN = {name for name in PRECISIONS if name not in SEVERAL_FORMS or name in _PLAIN}


def fault(target: str, what: str) -> EdgepackError:
    """The error for an exception that nobody meant to raise: it fails one target."""
    return EdgepackError(
        f"Building {target} failed ({what})",
        where=target,
        todo="Run it alone with --jobs 1 --debug, and report it to whoever wrote that target",
    )


def fault_of(target: str, error: Exception) -> EdgepackError:
    """The same, with the exception as its cause."""
    found = fault(target, f"{type(error).__name__}: {error}")
    found.__cause__ = error
    return found


def checked_sessions(target: Target) -> None:
    """Raise TargetError unless the runtimes that a target names are registered."""
    for name in (target.session, target.lowered_session):
        if name is not None and name not in sessions:
            raise _wrong(
                target,
                "session",
                f"names the runtime {name!r}, which is not among {_listed(sessions.names())}",
            )


def checked_lowered(target: Target, made: Any) -> Lowered:
    """What `lower` returned, if it is a lowered part whose file is there.

    Raises:
        TargetError: It is not.
    """
    if not isinstance(made, Lowered):
        raise _wrong(target, "lower", f"returned {_shown(made)}, and not a Lowered")
    if not Path(made.path).exists():
        raise _wrong(target, "lower", f"names the file {Path(made.path).name}, and did not write it")
    return made


def checked_offers(target: Target, made: Any) -> list[Offer]:
    """What `offers` returned, if each is an offer of a known precision by a known quantizer, and none comes twice.

    Raises:
        TargetError: It is not.
    """
    if isinstance(made, str) or not isinstance(made, Iterable):
        raise _wrong(target, "offers", f"returned {_shown(made)}, and not a sequence of Offer")
    offers = list(made)
    seen: set[str] = set()
    for offer in offers:
        if not isinstance(offer, Offer):
            raise _wrong(target, "offers", f"returned {_shown(offer)} among its offers, and not an Offer")
        if offer.precision not in _KNOWN:
            raise _wrong(
                target, "offers", f"offers {offer.precision!r}, which is not among {_listed(sorted(_KNOWN))}"
            )
        if offer.quantizer is not None and offer.quantizer not in quantizers:
            raise _wrong(
                target,
                "offers",
                f"names the quantizer {offer.quantizer!r}, which is not among {_listed(quantizers.names())}",
            )
        if offer.precision in seen:
            raise _wrong(target, "offers", f"offers {offer.precision} twice")
        seen.add(offer.precision)
    if not offers:
        raise _wrong(target, "offers", "offers nothing")
    return offers


def checked_compiled(target: Target, made: Any, folder: Path) -> Compiled:
    """What `compile` returned, if its files are in the folder that it was given.

    Raises:
        TargetError: It is not.
    """
    if not isinstance(made, Compiled):
        raise _wrong(target, "compile", f"returned {_shown(made)}, and not a Compiled")
    if not isinstance(made.placement, Placement) or not isinstance(made.tool, Tool):
        raise _wrong(target, "compile", "returned a Compiled without a Placement and a Tool")
    if not isinstance(made.files, tuple) or not made.files:
        raise _wrong(target, "compile", f"ships {_shown(made.files)}, and not a tuple of one or more names")
    for name in (*made.files, made.run_file):
        path = PurePosixPath(str(name))
        if path.is_absolute() or ".." in path.parts:
            raise _wrong(target, "compile", f"names the file {name!r}, which is not in its folder")
        if not (folder / path).is_file():
            raise _wrong(target, "compile", f"names the file {name!r}, and did not write it")
    return made


def _wrong(target: Target, method: str, what: str) -> TargetError:
    kind = type(target)
    return TargetError(
        f"The target {target.name} does not keep to its contract: {method} {what}",
        where=f"{kind.__module__}.{kind.__qualname__}",
        todo="Report it to whoever wrote that target; docs/plugins.md says what is expected",
    )


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:_SHOWN]}{'...' * (len(text) > _SHOWN)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
