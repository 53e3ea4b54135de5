"""Qualcomm's HTP in its simulator for x86-64, through onnxruntime-qnn in an isolated environment.

It runs what ships: the EPContext model and its context binary. The values are those that the HTP's integer kernels
give; the time is the simulator's and says nothing about a device, so there is no profile. Every call goes to a worker
process through files. The CPU takes no node that it had not when the model was compiled: where all were on the HTP, the
session is opened with the CPU forbidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime.sessions._checked import CheckedSession
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.results import Profile, Tool
from edgepack.toolchain.vendors import qnn
from edgepack.toolchain.vendors.isolated_worker import Conversation

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Signature

OPEN_LIMIT_S = 600.0
CALL_LIMIT_S = 600.0
"""A sentence encoder of 11 GMAC takes seconds a call."""


@sessions.register("qnn-htp")
class QnnSession(CheckedSession):
    """A compiled part in the HTP simulator.

    Args:
        path: The EPContext model that `npu:qnn-htp-*` wrote; its context binary lies beside it.
        signature: The part's signature as the caller sees it.
        threads: Threads of what the CPU computes; the simulator uses its own.

    Raises:
        ToolchainMissingError: The isolated environment is not there.
        SourceError: The file is none of this target's.
        ToolchainFailedError: The simulator does not load it.
    """

    distribution = qnn.DISTRIBUTION

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        qnn.ENVIRONMENT.check(qnn.SETUP)
        facts = _facts(path)
        request = {
            "model": str(path.resolve()),
            "soc_model": facts["soc_model"],
            "htp_arch": facts["htp_arch"],
            "fallback": not facts["strict"],
            "verbose": False,
            "threads": threads,
        }
        self._simulator = Conversation(
            qnn.WORKER, request, open_limit_s=OPEN_LIMIT_S, call_limit_s=CALL_LIMIT_S
        )

    @classmethod
    def tool(cls) -> Tool:
        """Name and version of the simulator's package."""
        return Tool(
            name=qnn.DISTRIBUTION, version=qnn.ENVIRONMENT.version(qnn.DISTRIBUTION) or "not installed"
        )

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answer, arrays = self._simulator.call(inputs)
        made = dict(zip(answer["names"], arrays, strict=True))
        missing = [spec.name for spec in self.signature.outputs if spec.name not in made]
        if missing:
            raise SourceError(
                f"The file has the outputs {', '.join(made) or '(none)'}, and its signature says {', '.join(missing)}",
                where=str(self.path),
                todo="Export the model again: the file and its signature do not belong together",
            )
        return {spec.name: made[spec.name] for spec in self.signature.outputs}

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """None: a simulator's times are the host's."""
        del inputs, runs
        return Profile(missing="the HTP simulator's times are this host's, not a device's")

    def close(self) -> None:
        """End the simulator."""
        super().close()
        self._simulator.close()


def _facts(path: Path) -> dict[str, object]:
    """What the file says of itself, and that its binaries are those it was written with."""
    from edgepack.toolchain.files import hash_file

    if not path.is_file():
        raise SourceError(
            f"The model file {path.name} does not exist", where=str(path), todo="Export it again"
        )
    try:
        facts = qnn.facts_in(path)
    except Exception as error:
        raise SourceError(
            f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}",
            where=str(path),
            todo="Export it again",
        ) from error
    if facts is None:
        raise SourceError(
            f"{path.name} was not compiled for the HTP: it does not say for which chip",
            where=str(path),
            todo="Give the .onnx file of an artifact of npu:qnn-htp-*",
        )
    for name, digest in facts["contexts"].items():
        binary = path.with_name(name)
        if not binary.is_file() or hash_file(binary).sha256 != digest:
            raise SourceError(
                f"The context binary {name} is missing or is not the one that {path.name} was compiled with",
                where=str(path),
                todo="Export the model again",
            )
    return facts
