"""nncase's simulator of the K230, in an isolated environment: it runs the `.kmodel` that ships.

The time is the simulator's and says nothing about a device, so there is no profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime.sessions._checked import CheckedSession
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.results import Profile, Tool
from edgepack.toolchain.vendors import k230
from edgepack.toolchain.vendors.isolated_worker import Conversation

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Signature

OPEN_LIMIT_S = 120.0
CALL_LIMIT_S = 600.0


@sessions.register("k230")
class K230Session(CheckedSession):
    """A `.kmodel` in the simulator.

    Args:
        path: The file that `npu:k230` wrote, with the `.json` of the same name beside it.
        signature: The part's signature.
        threads: Not used: the simulator takes what it wants.

    Raises:
        ToolchainMissingError: The isolated environment, or .NET, is not there.
        SourceError: The file is none of this target's, or of another version of nncase.
        ToolchainFailedError: The simulator does not load it.
    """

    distribution = k230.DISTRIBUTION

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        k230.ENVIRONMENT.check(k230.SETUP)
        if not path.is_file():
            raise SourceError(
                f"The model file {path.name} does not exist", where=str(path), todo="Export it again"
            )
        facts = k230.facts_of(path)
        self._order = [str(name) for name in facts["inputs"]]
        self._made = [str(name) for name in facts["outputs"]]
        self._check(facts["version"])
        request = {
            "kmodel": str(path.resolve()),
            "inputs": len(self._order),
            "outputs": len(self._made),
            "dotnet": k230.dotnet_root(),
        }
        self._worker = Conversation(
            k230.WORKER, request, open_limit_s=OPEN_LIMIT_S, call_limit_s=CALL_LIMIT_S
        )

    def _check(self, version: object) -> None:
        here = self.tool().version
        if version != here:
            raise SourceError(
                f"{self.path.name} was compiled by {k230.DISTRIBUTION} {version}, and {here} is here",
                where=str(self.path),
                todo="Export the model again",
            )
        known = {spec.name for spec in self.signature.inputs}, {spec.name for spec in self.signature.outputs}
        if known != (set(self._order), set(self._made)):
            raise SourceError(
                f"{self.path.name} takes {', '.join(self._order)} and gives {', '.join(self._made)}, and the "
                "signature says otherwise",
                where=str(self.path),
                todo="Export the model again: the file and its signature do not belong together",
            )

    @classmethod
    def tool(cls) -> Tool:
        """Name and version of the compiler that the simulator comes with."""
        return Tool(
            name=k230.DISTRIBUTION, version=k230.ENVIRONMENT.version(k230.DISTRIBUTION) or "not installed"
        )

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _, made = self._worker.call({name: inputs[name] for name in self._order})
        found = dict(zip(self._made, made, strict=False))
        wrong = [
            spec
            for spec in self.signature.outputs
            if spec.name not in found or found[spec.name].shape != tuple(spec.shape)
        ]
        if len(made) != len(self._made) or wrong:
            raise SourceError(
                f"The simulator gave arrays of {[tuple(array.shape) for array in made]}, and the signature says "
                f"{[tuple(spec.shape) for spec in self.signature.outputs]}",
                where=str(self.path),
                todo="Export the model again: the file and its signature do not belong together",
            )
        return {spec.name: found[spec.name].astype(spec.dtype, copy=False) for spec in self.signature.outputs}

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """None: a simulator's times are the host's."""
        del inputs, runs
        return Profile(missing="the simulator's times are this host's, not a device's")

    def close(self) -> None:
        """End the worker, and a simulator that it was waiting for."""
        super().close()
        group = self._worker.group
        left = [] if group is None else k230.simulators(group)
        self._worker.close()
        for block in left:
            block.unlink(missing_ok=True)
