"""The export ladder: from a source to a verified program, with the reason each rung was left.

Rungs, in order: the source as it is (an ONNX file); a native exporter for a known architecture;
torch.export in its three forms (`torch_onnx`). A rung counts only when its graph agrees with the
reference on every recorded case; the judge is handed in, because running a graph is the runtime's
business.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.exporters._worker import RAW_FILE
from edgepack.exporters.native.base import Declined, natives
from edgepack.exporters.sources import Source
from edgepack.exporters.sources.huggingface import HuggingFaceSource
from edgepack.exporters.sources.onnx_file import OnnxSource
from edgepack.exporters.torch_onnx import RUNGS
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import EdgepackError, ExportError, ToolchainFailedError
from edgepack.toolchain.program import Part, Program
from edgepack.toolchain.results import Parity
from edgepack.toolchain.subprocesses import run_tool

Judge = Callable[[Part], Parity]
"""Runs a part's graph on its cases and compares with their outputs."""


@dataclass(frozen=True)
class Climbed:
    """A program whose graph agreed with its source.

    Attributes:
        program: Its ONNX files lie in the folder that was handed in (or where an ONNX source lies).
        rung: Name of the rung that held.
        left: For every rung before it "name: reason".
        parity: Agreement with the source framework.
    """

    program: Program
    rung: str
    left: list[str]
    parity: Parity


def climb(source: Source, folder: Path, judge: Judge, time_limit_s: float) -> Climbed:
    """Export `source` into `folder` by the first rung that holds.

    Raises:
        SourceError: The model cannot be read or run.
        ExportError: No rung gave a graph that agrees with the source.
    """
    if isinstance(source, OnnxSource):
        program = source.program()
        return _judged(program, "onnx", [], judge)
    left: list[str] = []
    climbed = _native(source, folder, judge, left, time_limit_s)
    if climbed:
        return climbed
    rungs = list(RUNGS)
    while True:
        answer = _work(source, folder, rungs, time_limit_s)
        program, rung = Program.load(folder), answer["rung"]
        left += answer["left"]
        try:
            return _judged(program, rung, left, judge)
        except _Disagrees as error:
            left.append(f"{rung}: {error}")
        rungs = rungs[rungs.index(rung) + 1 :]
        if not rungs:
            raise ExportError(
                "Every way of exporting this model gave wrong outputs or none. " + " / ".join(left),
                where=source.request.model,
                todo="Look at the first wrong tensor above, or export a part of the model as file.py:factory",
            )


class _Disagrees(Exception):  # noqa: N818 - an answer, not an error
    """A rung's graph ran and disagreed with the reference, or did not run at all."""


def _judged(program: Program, rung: str, left: list[str], judge: Judge) -> Climbed:
    part = program.parts["main"]
    try:
        parity = judge(part)
    except EdgepackError as error:
        if rung == "onnx":
            raise
        raise _Disagrees(str(error)) from error
    if not parity.passed:
        first = f"; the first wrong tensor is {parity.first_wrong}" if parity.first_wrong else ""
        message = f"the graph's outputs differ from the source's ({'; '.join(parity.failed)}{first})"
        if rung == "onnx":
            raise ExportError(message, where=program.source["location"])
        raise _Disagrees(message)
    program.notes += [f"exported by: {rung}", *(f"left {reason}" for reason in left)]
    return Climbed(program, rung, left, parity)


def _native(
    source: Source, folder: Path, judge: Judge, left: list[str], time_limit_s: float
) -> Climbed | None:
    """The native rung, built here while a worker records the reference; None when it does not hold."""
    if not isinstance(source, HuggingFaceSource):
        return None
    config = source.config()
    if config["model_type"] not in natives:
        return None
    import onnx_ir as ir

    try:
        model = natives.get(config["model_type"])(source.folder, config, source.task(config))
    except Declined as declined:
        left.append(f"native: {declined}")
        return None
    with ThreadPoolExecutor(max_workers=1) as pool:
        recorded = pool.submit(_work, source, folder, [], time_limit_s)
        ir.save(model, folder / RAW_FILE, external_data=f"{RAW_FILE}.data")
        recorded.result()
    program = Program.load(folder)
    inputs = [spec.name for spec in program.parts["main"].signature.inputs]
    if inputs != [value.name for value in model.graph.inputs]:
        left.append(f"native: the source takes {', '.join(inputs)}")
        return None
    try:
        return _judged(program, "native", left, judge)
    except _Disagrees as error:
        left.append(f"native: {error}")
        return None


def _work(source: Source, folder: Path, rungs: list[str], time_limit_s: float) -> dict[str, Any]:
    """One request to a worker process; opened lean first, in full when that fails.

    Raises:
        EdgepackError: What the worker found, as it found it.
        ExportError: The worker crashed or hung.
    """
    error: EdgepackError | None = None
    for lean in (True, False):
        request = folder / "request.json"
        answer_file = folder / ANSWER_FILE
        answer_file.unlink(missing_ok=True)
        request.write_text(
            json.dumps(
                {
                    "source": source.request.anywhere().to_json(),
                    "folder": str(folder),
                    "rungs": rungs,
                    "lean": lean,
                }
            )
        )
        command = [sys.executable, "-m", "edgepack.exporters._worker", str(request)]
        try:
            run_tool(
                "The model's process",
                command,
                time_limit_s=time_limit_s,
                cwd=Path.cwd(),
                expect=[answer_file],
            )
        except ToolchainFailedError as failed:
            raise ExportError(failed.what, where=source.request.model, todo=failed.todo) from failed
        answer = read_answer(answer_file)
        error = error_in(answer)
        if error is None:
            return answer
        if "ModuleNotFoundError" not in answer["trace"] and "ImportError" not in answer["trace"]:
            break
    assert error is not None  # noqa: S101 - the loop ran
    raise error
