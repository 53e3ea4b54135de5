"""ncnn on the CPU through its Python wheel.

Sizes are those that the part was exported for. ncnn has float32 and int32; the session converts, so that a caller sees
the signature and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._checked import CheckedSession
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.narrowing import shown
from edgepack.toolchain.program import Signature
from edgepack.toolchain.vendors import ncnn

if TYPE_CHECKING:
    import numpy as np


@sessions.register("ncnn")
class NcnnSession(CheckedSession):
    """A `.param` file, with its `.bin` and `.json` beside it.

    Args:
        path: The `.param` file.
        signature: The part's signature as the caller sees it.
        threads: Threads within one operator.

    Raises:
        SourceError: A file is missing, is none of ncnn's, or has other inputs and outputs than the signature.
        ToolchainMissingError: ncnn is not installed.
    """

    distribution = ncnn.DISTRIBUTION

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        self._blobs = ncnn.Blobs.of(path)
        strange = self._blobs.inputs.keys() - {spec.name for spec in signature.inputs}
        strange |= self._blobs.outputs.keys() ^ {spec.name for spec in signature.outputs}
        if strange:
            raise SourceError(
                f"'{min(strange)}' is in only one of the network and its signature",
                where=str(path),
                todo="Export the model again: the file and its signature do not belong together",
            )
        self._net: Any = ncnn.open_net(path, threads)

    @classmethod
    def prepare(cls) -> None:
        """Import the runtime."""
        ncnn.import_ncnn()

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = ncnn.call(self._net, self._blobs, inputs)
        return {
            spec.name: made[spec.name].astype(shown(spec.dtype), copy=False)
            for spec in self.signature.outputs
        }

    def close(self) -> None:
        """Release the runtime's memory."""
        super().close()
        self._net = None
