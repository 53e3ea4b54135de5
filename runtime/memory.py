"""Peak memory of loading an artifact and running it once, measured in a process made for it.

The process that exports has torch, calibration data and other candidates in it, and its peak says
nothing about the artifact. A child imports the one runtime, loads, runs once, and reads its own
high-water mark of resident memory (VmHWM of /proc/self/status on Linux) after each step.

Pages of a mapped weight file count once they are touched, as they do on the device.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime._memory_child import INPUTS, REQUEST
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.program import Signature
from edgepack.toolchain.results import Memory
from edgepack.toolchain.subprocesses import run_tool

if TYPE_CHECKING:
    import numpy as np


def peak(
    session_name: str,
    path: Path,
    signature: Signature,
    inputs: Mapping[str, np.ndarray],
    threads: int = 1,
    time_limit_s: float = 300.0,
) -> Memory:
    """Peak resident memory of a fresh process, in bytes: after imports, after loading, after one run.

    `peak_bytes` is the whole process, the Python interpreter, numpy and the runtime included;
    `peak_bytes - baseline_bytes` is what the artifact adds. The inputs count in both.

    Args:
        session_name: Name in the session registry.
        path: The artifact.
        signature: Of the part.
        inputs: Of the one call; read before the baseline is taken.
        threads: Threads within one operator.
        time_limit_s: Seconds after which the child is killed.

    Raises:
        UnknownNameError: No such session.
        SourceError, UsageError: Whatever the session says of the file or the inputs.
        ToolchainFailedError: The child crashed, was killed (for want of memory, say), or took too long.
    """
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="edgepack-memory-") as name:
        folder = Path(name)
        np.savez(folder / INPUTS, **dict(inputs))  # type: ignore[arg-type]
        request = {
            "session": session_name,
            "path": str(path.resolve()),
            "signature": asdict(signature),
            "threads": threads,
        }
        (folder / REQUEST).write_text(json.dumps(request))
        run_tool(
            f"Measuring the memory of {path.name} with {session_name}",
            [sys.executable, "-m", "edgepack.runtime._memory_child", REQUEST],
            time_limit_s=time_limit_s,
            cwd=folder,
            expect=[folder / ANSWER_FILE],
        )
        answer = read_answer(folder / ANSWER_FILE)
    error = error_in(answer)
    if error is not None:
        raise error
    return Memory(kind="measured", **{key: value for key, value in answer.items() if key != "ok"})
