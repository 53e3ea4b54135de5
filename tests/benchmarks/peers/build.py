"""The process that makes a peer's forms of a task: vendors' converters never run beside what is measured.

    python -m tests.benchmarks.peers.build TASK raw FOLDER
    python -m tests.benchmarks.peers.build TASK PEER FOLDER RAW

Every form gets a folder of its own; one that cannot be made has its reason in `failed.txt`.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from edgepack.toolchain.vendors.openvino_ir import silence
from tests.benchmarks.peers import base, models

FAILED = "failed.txt"
_LONGEST = 300


def main(task_name: str, what: str, folder: str, raw: str = "") -> None:
    """Make what was asked for."""
    silence()
    task = models.TASKS[task_name]
    if what == "raw":
        base.write_raw(task, Path(folder) / base.RAW)
        return
    peer = base.peer(what)
    for index, form in enumerate(peer.forms(task)):
        into = Path(folder) / str(index)
        into.mkdir()
        try:
            peer.build(task, form, Path(raw) if raw else None, into)
        except Exception as error:  # noqa: BLE001 - tools raise anything; the table says what
            traceback.print_exc()
            words = " ".join(str(error).split())
            (into / FAILED).write_text(f"{type(error).__name__}: {words}"[:_LONGEST])


if __name__ == "__main__":
    main(*sys.argv[1:])
