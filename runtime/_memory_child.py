"""The child of `memory.peak`: `python -m edgepack.runtime._memory_child request.json`, in its folder.

It imports one runtime and nothing of the frameworks, and answers in `answer.json` beside the request.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.answers import ANSWER_FILE, write_answer
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.program import Signature

REQUEST, INPUTS = "request.json", "inputs.npz"


def high_water_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The process's largest resident size so far.

    Elsewhere than on Linux it is getrusage's figure (bytes on macOS, KiB on the others). On Linux
    that one will not do: a child inherits it from its parent across fork and exec.
    """
    try:
        lines = status.read_text().splitlines()
    except OSError:
        import resource

        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else size * 1024
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise EdgepackError("The kernel does not tell this process's peak memory", where=str(status))


def measure(folder: Path, request: dict[str, object]) -> dict[str, int]:
    """Load and run what the request names; the three high-water marks."""
    import numpy as np

    kind = sessions.get(str(request["session"]))
    signature = Signature.from_json(request["signature"])  # type: ignore[arg-type]
    with np.load(folder / INPUTS, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    kind.prepare()
    baseline = high_water_bytes()
    with kind(Path(str(request["path"])), signature, threads=int(str(request["threads"]))) as session:
        load = high_water_bytes()
        session.run(inputs)
    return {"baseline_bytes": baseline, "load_bytes": load, "peak_bytes": high_water_bytes()}


def main(request_file: Path) -> None:
    """Answer one request; errors of edgepack's tree go into the answer, others end the process."""
    folder = request_file.parent
    write_answer(folder / ANSWER_FILE, lambda: measure(folder, json.loads(request_file.read_text())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
