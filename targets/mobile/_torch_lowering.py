"""From a torch module to a `.tflite` file by litert-torch: for what edgepack's own converter does not translate.

It runs in a process of its own (`_litert_worker`): it takes a gigabyte, prints, and runs the model's own code.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.mobile._onnx_lowering import MODEL_FILE
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.subprocesses import run_tool

if TYPE_CHECKING:
    from edgepack.targets.base import Context
    from edgepack.toolchain.program import Part, Signature

REQUEST_FILE = "request.json"
WORKER = "edgepack.targets.mobile._litert_worker"


def lower(part: Part, signature: Signature, context: Context, folder: Path, why: str) -> Lowered:
    """Convert one part from its source with litert-torch.

    Args:
        part: The part; its graph is not looked at.
        signature: Its own, with integers only as dimensions.
        context: The source, the sizes, the time limit.
        folder: Receives the file.
        why: Why edgepack's own converter did not, for the report.

    Raises:
        TargetError: litert-torch does not convert it either.
        ToolchainFailedError: It crashed, hung or wrote nothing.
    """
    folder = folder.resolve()  # the worker runs in it: a relative path would mean something else there
    request = {
        "source": dict(context.source),
        "part": part.origin,
        "sizes": dict(context.sizes),
        "signature": asdict(signature),
        "folder": str(folder),
        "threads": context.threads,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REQUEST_FILE).write_text(json.dumps(request))
    answer_file = folder / ANSWER_FILE
    try:
        run_tool(
            "litert-torch",
            [sys.executable, "-m", WORKER, str(folder / REQUEST_FILE)],
            time_limit_s=context.time_limit_s,
            cwd=folder,
            expect=[answer_file],
        )
        answer = read_answer(answer_file)
    finally:
        (folder / REQUEST_FILE).unlink(missing_ok=True)
        answer_file.unlink(missing_ok=True)
    error = error_in(answer)
    if error is not None:
        raise error
    path = folder / MODEL_FILE
    if not path.is_file() or path.stat().st_size == 0:
        raise ToolchainFailedError("litert-torch ended with exit code 0 and wrote no model", where=part.name)
    note = f"Converted by litert-torch, because edgepack's own converter did not: {why}"
    return Lowered(part.name, "tflite", path, signature, notes=(note, *answer["notes"]))
