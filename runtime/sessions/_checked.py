"""What a session of a real runtime does before the runtime is asked: it is open, and the inputs are the signature's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgepack.runtime.sessions._inputs import InputCheck
from edgepack.runtime.sessions.base import Session
from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Signature
    from edgepack.toolchain.results import Tool


class CheckedSession(Session):
    """A session that answers wrong calls itself, in the same words whatever the runtime.

    Attributes:
        distribution: What the runtime comes in.
    """

    distribution: ClassVar[str]

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        self._check_inputs = InputCheck(signature, path.name)
        self._closed = False

    @classmethod
    def tool(cls) -> Tool:
        """Name and version of the runtime."""
        from edgepack.toolchain.results import Tool

        return Tool(name=cls.distribution, version=metadata.version(cls.distribution))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call; outputs by name, in the signature's dtypes (16-bit and quantized ones as float32).

        Raises:
            UsageError: An input is missing, unknown, or of a wrong dtype or shape, or the session is closed.
            SourceError: The model itself fails on these inputs, or gives what its signature does not say.
            ToolchainFailedError: A simulator failed, crashed or hung.
        """
        if self._closed:
            raise UsageError("The session is closed", where=str(self.path), todo="Open a new one")
        self._check_inputs(inputs)
        return self._run(inputs)

    @abstractmethod
    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call of the runtime with inputs that are the signature's."""

    def close(self) -> None:
        """Release the runtime's memory."""
        self._closed = True


def check_runs(runs: int) -> None:
    """Raise UsageError where a profile of no run is asked for."""
    if runs < 1:
        raise UsageError("A profile needs at least one run", where="runs", todo="Give a positive number")
