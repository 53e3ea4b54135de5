"""The small interface that every runtime hides behind, and its registry.

A session takes and gives numpy arrays by the names and dtypes of the part's signature. A runtime
that renames, narrows (int64 to int32) or quantizes its inputs and outputs converts inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgepack.toolchain.program import Signature
from edgepack.toolchain.registry import Registry, class_problem

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

    from edgepack.toolchain.results import Profile, Tool


class Session(ABC):
    """A loaded artifact, ready to run.

    Args:
        path: The artifact's file.
        signature: The part's signature as the caller sees it.
        threads: Threads within one operator; never more are used.
    """

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        self.path = path
        self.signature = signature
        self.threads = threads

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call; outputs by name, float outputs as float32.

        Raises:
            UsageError: An input is missing, unknown, or of a wrong dtype or shape.
        """

    @classmethod
    @abstractmethod
    def tool(cls) -> Tool:
        """Name and version of the runtime."""

    @classmethod  # noqa: B027 - a default, not a duty
    def prepare(cls) -> None:
        """Import the runtime, so that its memory is not counted as the artifact's (a default: nothing)."""

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """Per-operator times of `runs` calls, or the reason why this runtime gives none."""
        from edgepack.toolchain.results import Profile

        del inputs, runs
        return Profile(missing=f"{self.tool().name} gives no per-operator times through its Python interface")

    @classmethod
    def tensors(cls, path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every tensor of one call by name, dequantized, in graph order; empty if it cannot be shown."""
        del path, inputs
        return {}

    def close(self) -> None:  # noqa: B027 - a default, not a duty
        """Release the runtime's memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


sessions: Registry[type[Session]] = Registry(
    "session",
    "edgepack.runtime.sessions",
    "edgepack.sessions",
    lambda _, member: class_problem(member, Session),
)
