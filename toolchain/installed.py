"""The targets of this installation: which there are, what they lack, and their isolated environments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    from edgepack.targets.base import Target
    from edgepack.toolchain.environments import IsolatedEnvironment


@dataclass(frozen=True)
class TargetInfo:
    """A target that this installation knows.

    Attributes:
        name: As `export` takes it.
        title: What it is.
        installed: Whether its toolchain is there.
        command: What installs it, when it is not.
        versions: Version of every distribution it needs, None for what is missing.
        isolated: State of the isolated environment that it needs (`environments.State`); None: it needs none.
        problem: Why nothing can be said of it: a target of somebody else's that raised when it was asked.
    """

    name: str
    title: str
    installed: bool
    command: str | None
    versions: dict[str, str | None]
    isolated: str | None = None
    problem: str | None = None


def list_targets() -> list[TargetInfo]:
    """All targets, installed or not, sorted by name; imports no toolchain."""
    from edgepack.targets.base import targets

    found = []
    for name, kind in targets.items():
        try:
            found.append(_info(kind()))
        except Exception as error:  # noqa: BLE001 - of anybody's target; the others are listed
            problem = f"{type(error).__name__}: {error}"
            found.append(
                TargetInfo(name, kind.title, installed=False, command=None, versions={}, problem=problem)
            )
    return found


def _info(target: Target) -> TargetInfo:
    needs, missing = target.requirements(), target.missing()
    return TargetInfo(
        target.name,
        target.title,
        not missing,
        missing[0].command if missing else None,
        {need.distribution: need.version for need in needs},
        next((need.environment.state() for need in needs if need.environment), None),
    )


def set_up(target: str, *, tell: Callable[[int, int, str], object] = lambda *_: None) -> int:
    """Make or finish the isolated environment of a target; returns how many distributions were installed now.

    Args:
        target: Its name.
        tell: Called with (steps done, steps in all, what is done now).

    Raises:
        UnknownNameError: There is no such target.
        UsageError: It needs no environment of its own.
        ToolchainFailedError: It cannot be made with this Python, or venv or pip failed.
    """
    return _environment_of(target).set_up(tell)


def remove_environment(target: str) -> bool:
    """Delete the isolated environment of a target; whether there was one. Errors as of `set_up`."""
    return _environment_of(target).remove()


def _environment_of(name: str) -> IsolatedEnvironment:
    from edgepack.targets.base import targets

    found = targets.get(name)()
    for need in found.requirements():
        if need.environment is not None:
            return need.environment
    missing = found.missing()
    raise UsageError(
        f"{name} needs no environment of its own",
        where="setup",
        todo=f"Run: {missing[0].command}" if missing else "It is installed already: export to it",
    )
