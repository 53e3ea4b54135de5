"""Every error that edgepack raises on purpose, in one tree.

::

    EdgepackError                     exit 1   a fault of edgepack's own
    ├── UsageError                    exit 2   the request is wrong: an option, a name, a folder
    │   ├── UnknownNameError                   a target, precision, task or key nobody registered
    │   └── BundleError                        a folder that is not (or no longer) a sound bundle
    ├── GateError                     exit 3   a quality gate failed
    ├── TargetError                   exit 4   a target's toolchain is missing or failed
    │   ├── ToolchainMissingError
    │   ├── ToolchainFailedError
    │   │   ├── NothingPlacedError             it left every operator off the accelerator
    │   │   └── ToolchainStoppedError          it could not start, was killed, or reached its time limit
    │   └── DeviceError                        a device refused, failed, or cannot be reached
    │       └── LinkLostError                  the link broke: what was asked may or may not have been done
    └── SourceError                   exit 5   the model cannot be read
        └── ExportError                        the model was read and cannot be exported

An error is one paragraph made of three parts: what happened, where, and what to do next. The
command line prints that paragraph and exits with the code above; a traceback only with --debug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from edgepack.toolchain.results import Placement

_SHOWN = 5


class EdgepackError(Exception):
    """Root of the tree.

    Args:
        what: What happened, as a sentence without its full stop.
        where: The file, part, stage or option concerned, if there is one.
        todo: What the reader can do next, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, todo: str | None = None) -> None:
        self.what = what
        self.where = where
        self.todo = todo
        super().__init__(what, where, todo)

    def __str__(self) -> str:
        """One paragraph: what, where, what to do."""
        text = self.what.rstrip(".")
        if self.where:
            text += f" ({self.where})"
        text += "."
        if self.todo:
            text += f" {self.todo.rstrip('.')}."
        return text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the three parts, so that an error survives the way out of a worker process."""
        return (rebuild, (type(self), self.what, self.where, self.todo))


def rebuild(kind: type[EdgepackError], what: str, where: str | None, todo: str | None) -> EdgepackError:
    """An error of `kind` from its three parts, whatever its own constructor takes."""
    error = kind.__new__(kind)
    EdgepackError.__init__(error, what, where=where, todo=todo)
    return error


class UsageError(EdgepackError):
    """The request itself is wrong."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that no registry, schema or table knows; the message offers the nearest one.

    Args:
        kind: What sort of name it is ("target", "precision", "recipe key").
        name: The name that was given.
        known: The names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str | None = None) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(
            f"Unknown {kind} '{name}'",
            where=where,
            todo=f"{hint}Known: {', '.join(names) if names else 'none'}",
        )


class BundleError(UsageError):
    """A folder that is not a bundle, or a bundle whose files no longer agree with its manifest."""


class GateError(EdgepackError):
    """An artifact's outputs are too far from the reference for the gate that was asked for."""

    exit_code = 3


class TargetError(EdgepackError):
    """A target cannot take this program, or its toolchain let us down."""

    exit_code = 4


class ToolchainMissingError(TargetError):
    """The target's toolchain is not installed; the message holds the command that installs it."""


class ToolchainFailedError(TargetError):
    """A vendor tool crashed, hung beyond its limit, or succeeded without writing its output."""


class NothingPlacedError(ToolchainFailedError):
    """A vendor tool compiled the model and left every operator off its accelerator.

    Attributes:
        placement: Every operator with its reason; only in the process that raised it.
    """

    placement: Placement


class ToolchainStoppedError(ToolchainFailedError):
    """A vendor tool that never came to an end of its own: what happened says nothing of the model."""


class DeviceError(TargetError):
    """A device over ssh or adb refused what was asked, failed at it, or cannot be reached."""


class LinkLostError(DeviceError):
    """The link to a device broke before an answer came: what was asked may or may not have been done."""


class SourceError(EdgepackError):
    """The model cannot be read: missing, truncated, hostile, or of a form that is not accepted."""

    exit_code = 5


def not_finite(names: Sequence[str], where: str) -> SourceError:
    """The error for weights that hold NaN or infinity, the first few named."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return SourceError(
        f"The weights hold NaN or infinity: {', '.join(names[:_SHOWN])}{more}",
        where=where,
        todo="Save the model again from a sound checkpoint",
    )


class ExportError(SourceError):
    """The model was read, and no rung of the ladder turned it into a verified program."""
