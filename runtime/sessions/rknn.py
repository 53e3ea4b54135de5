"""Rockchip's simulator of its NPUs, by rknn-toolkit2 in an isolated environment.

It runs the quantized graph that an `.rknn` was written from: the toolkit does not simulate the file itself. The session
builds the model again from the archive that the target left beside it, from the same samples and by the same version,
in a worker process. The time is the simulator's and says nothing about a device, so there is no profile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime.sessions._checked import CheckedSession
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.results import Profile, Tool
from edgepack.toolchain.vendors import rknn
from edgepack.toolchain.vendors.isolated_worker import Conversation

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Signature

OPEN_LIMIT_S = 900.0
"""The model is built again, which takes as long as compiling did."""
CALL_LIMIT_S = 600.0


@sessions.register("rknn")
class RknnSession(CheckedSession):
    """A build in the toolkit's simulator.

    Args:
        path: The archive that a target for a Rockchip NPU wrote.
        signature: The part's signature as the caller sees it.
        threads: Not used: the simulator takes what it wants.

    Raises:
        ToolchainMissingError: The isolated environment is not there.
        SourceError: The file is none of these targets', or of another version of the toolkit.
        ToolchainFailedError: The toolkit does not build it.
    """

    distribution = rknn.DISTRIBUTION

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        rknn.ENVIRONMENT.check(rknn.SETUP)
        if not path.is_file():
            raise SourceError(
                f"The model file {path.name} does not exist", where=str(path), todo="Export it again"
            )
        with tempfile.TemporaryDirectory(prefix="edgepack-rknn-") as scratch:
            folder = Path(scratch)
            facts = rknn.unpack(path, folder)
            self._check_version(facts["version"])
            self._order = [str(name) for name in facts["inputs"]]
            self._floats = frozenset(facts["floats"])
            self._worker = Conversation(
                rknn.WORKER,
                rknn.request(facts, folder),
                open_limit_s=OPEN_LIMIT_S,
                call_limit_s=CALL_LIMIT_S,
            )

    def _check_version(self, version: object) -> None:
        here = self.tool().version
        if version != here:
            raise SourceError(
                f"{self.path.name} was built by {rknn.DISTRIBUTION} {version}, and {here} is here",
                where=str(self.path),
                todo="Export the model again",
            )

    @classmethod
    def tool(cls) -> Tool:
        """Name and version of the toolkit."""
        return Tool(
            name=rknn.DISTRIBUTION, version=rknn.ENVIRONMENT.version(rknn.DISTRIBUTION) or "not installed"
        )

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _, made = self._worker.call(
            {
                name: inputs[name].astype("float32") if name in self._floats else inputs[name]
                for name in self._order
            }
        )
        wanted = self.signature.outputs
        shapes = [tuple(array.shape) for array in made]
        # The toolkit gives arrays without names, in the graph's order.
        if len(made) != len(wanted) or any(
            array.size != _size(spec.shape) for array, spec in zip(made, wanted, strict=True)
        ):
            raise SourceError(
                f"The simulator gave arrays of {shapes}, and the signature says "
                f"{[tuple(spec.shape) for spec in wanted]}",
                where=str(self.path),
                todo="Export the model again: the file and its signature do not belong together",
            )
        return {
            spec.name: array.reshape([int(size) for size in spec.shape]).astype(spec.dtype, copy=False)
            for spec, array in zip(wanted, made, strict=True)
        }

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """None: a simulator's times are the host's."""
        del inputs, runs
        return Profile(missing="the simulator's times are this host's, not a device's")

    def close(self) -> None:
        """End the worker."""
        super().close()
        self._worker.close()


def _size(shape: tuple[int | str, ...]) -> int:
    size = 1
    for dim in shape:
        size *= int(dim)
    return size
