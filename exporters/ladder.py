"""The export ladder: from a source to a verified program, with the reason each rung was left.

Rungs, in order: the source as it is (an ONNX file); a native exporter for a known architecture; those of
`torch_onnx`; the part split into its children. Every part climbs by itself. A rung counts only when its
graph agrees with the reference on every recorded case; the judge is handed in, because running a graph is
the runtime's business. At the end the parts together must give, step by step, what the model gives for
the whole sequence.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgepack.exporters._worker import OBSERVED_FILE, RAW_FILE
from edgepack.exporters.first_wrong import first_wrong
from edgepack.exporters.native.base import Declined, natives
from edgepack.exporters.scans.unrolled import unrolled
from edgepack.exporters.sources import Source
from edgepack.exporters.sources.huggingface import HuggingFaceSource
from edgepack.exporters.sources.onnx_file import OnnxSource
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import EdgepackError, ExportError, ToolchainFailedError
from edgepack.toolchain.links import check_links
from edgepack.toolchain.program import LOOP_NOTE, Part, Program
from edgepack.toolchain.results import Parity
from edgepack.toolchain.subprocesses import run_tool

if TYPE_CHECKING:
    import numpy as np

Rungs = Mapping[str, Sequence[str]]


class Judge(Protocol):
    """What the ladder needs of whoever can run graphs."""

    def part(self, part: Part) -> Parity:
        """A part's graph on its cases, compared with their outputs."""

    def rollout(self, program: Program) -> Parity | None:
        """The parts called one after the other against the whole sequence; None without a rollout."""

    def tensors(
        self, path: Path, feed: Mapping[str, np.ndarray], names: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """The named intermediate tensors of one call."""


@dataclass(frozen=True)
class Climbed:
    """A program whose graphs agreed with their source.

    Attributes:
        program: Its ONNX files lie in the folder that was handed in (or where an ONNX source lies).
        rung: Name of the rung that held; of several parts, "part: rung" each.
        left: For every rung before it "name: reason".
        parity: Agreement with the source framework, by part.
    """

    program: Program
    rung: str
    left: list[str]
    parity: dict[str, Parity]


def climb(source: Source, folder: Path, judge: Judge, time_limit_s: float) -> Climbed:
    """Export `source` into `folder`, every part by the first rung that holds.

    Raises:
        SourceError: The model cannot be read or run.
        ExportError: No rung gave a graph that agrees with the source, or the parts together do not.
    """
    if isinstance(source, OnnxSource):
        program = source.program(folder)
        try:
            parity = _judged(program.parts["main"], judge)
        except _Disagrees as error:
            raise ExportError(str(error), where=program.source["location"]) from error.__cause__
        return _finished(program, {"main": "onnx"}, [], {"main": parity}, judge)
    return _Climb(source, folder, judge, time_limit_s).run()


class _Disagrees(Exception):  # noqa: N818 - an answer, not an error
    """A rung's graph ran and disagreed with the reference, or did not run at all."""


def _judged(part: Part, judge: Judge) -> Parity:
    try:
        parity = judge.part(part)
    except EdgepackError as error:
        raise _Disagrees(str(error)) from error
    if not parity.passed:
        first = f"; the first wrong output is {parity.first_wrong}" if parity.first_wrong else ""
        raise _Disagrees(f"the graph's outputs differ from the source's ({'; '.join(parity.failed)}{first})")
    return parity


def _finished(
    program: Program, rungs: dict[str, str], left: list[str], parity: dict[str, Parity], judge: Judge
) -> Climbed:
    """The program with its links and its rollout checked."""
    check_links(program)
    together = judge.rollout(program)
    if together is not None and not together.passed:
        raise ExportError(
            f"The parts called step by step differ from the full sequence: {'; '.join(together.failed)}",
            where=str(program.source.get("location", "")),
            todo="Check the state links and what the parts do with positions and masks",
        )
    one = list(rungs) == ["main"]
    rung = rungs["main"] if one else ", ".join(f"{name}: {rung}" for name, rung in rungs.items())
    loops = [f"part {part.name}: {text}" for part in program if (text := unrolled(part.model()))]
    program.notes += [f"exported by: {rung}", _opsets(program), *(f"left {reason}" for reason in left)]
    program.notes += [
        f"{LOOP_NOTE}, {text}: slow, and as long as its example; see docs/models.md" for text in loops
    ]
    return Climbed(program, rung, left, parity)


def _opsets(program: Program) -> str:
    """The operator sets that the graphs say they use: exporters may write another version than was asked for."""
    said = {}
    for part in program:
        imports = part.model().opset_imports
        said[part.name] = ", ".join(f"{domain or 'ai.onnx'} {n}" for domain, n in sorted(imports.items()))
    if len(set(said.values())) == 1:
        return f"opset: {next(iter(said.values()))}"
    return "opset: " + "; ".join(f"{name}: {text}" for name, text in said.items())


class _Climb:
    """One source on its way up."""

    def __init__(self, source: Source, folder: Path, judge: Judge, time_limit_s: float) -> None:
        self.source = source
        self.folder = folder
        self.judge = judge
        self.time_limit_s = time_limit_s
        self.left: list[str] = []

    def run(self) -> Climbed:
        climbed = self._native()
        if climbed:
            return climbed
        rungs: dict[str, str] = {}
        parity: dict[str, Parity] = {}
        waiting: Rungs | None = None
        notes: dict[str, list[str]] = {}
        while True:
            answer = self._answer(waiting)
            program = Program.load(self.folder)
            again: dict[str, Sequence[str]] = {}
            for name, told in answer["parts"].items():
                many = len(program.parts) > 1
                self.left += [f"{name}, {reason}" if many else reason for reason in told["left"]]
                notes[name] = [f"{name}: {note}" if many else note for note in told["notes"]]
                try:
                    parity[name] = _judged(program.parts[name], self.judge)
                    rungs[name] = told["rung"]
                except _Disagrees as error:
                    where = self._first_wrong(program.parts[name])
                    reason = f"{told['rung']}: {error}" + (f"; first wrong: {where}" if where else "")
                    reason = "; ".join([reason, *told["notes"]])
                    self.left.append(f"{name}, {reason}" if many else reason)
                    again[name] = told["next"]
                    if not told["next"]:
                        raise self._nothing() from error
            if not again:
                program.notes += [note for name in program.parts for note in notes.get(name, [])]
                ordered = {name: rungs[name] for name in program.parts}
                parity = {name: parity[name] for name in program.parts}
                return _finished(program, ordered, self.left, parity, self.judge)
            waiting = again

    def _answer(self, waiting: Rungs | None) -> dict[str, Any]:
        """The worker's answer; when no rung is left, the error holds the reasons of all requests."""
        try:
            return self._work(waiting)
        except ExportError as error:
            if waiting is None:
                raise
            self.left.append(error.what)
            raise self._nothing() from error

    def _nothing(self) -> ExportError:
        return ExportError(
            "Every way of exporting this model gave wrong outputs or none. " + " / ".join(self.left),
            where=self.source.request.model,
            todo="Look at the first wrong tensor above, or export a part of the model as file.py:factory",
        )

    def _native(self) -> Climbed | None:
        """The native rung, built here while a worker records the reference; None when it does not hold."""
        if not isinstance(self.source, HuggingFaceSource):
            return None
        config = self.source.config()
        if config["model_type"] not in natives:
            return None
        import onnx_ir as ir

        try:
            model = natives.get(config["model_type"])(self.source.folder, config, self.source.task(config))
        except Declined as declined:
            self.left.append(f"native: {declined}")
            return None
        raw = self.folder / RAW_FILE.format("main")
        with ThreadPoolExecutor(max_workers=1) as pool:
            recorded = pool.submit(self._work, {"main": []})
            ir.save(model, raw, external_data=f"{raw.name}.data")
            recorded.result()
        program = Program.load(self.folder)
        part = program.parts["main"]
        inputs = [spec.name for spec in part.signature.inputs]
        if inputs != [value.name for value in model.graph.inputs]:
            self.left.append(f"native: the source takes {', '.join(inputs)}")
            return None
        try:
            parity = _judged(part, self.judge)
        except _Disagrees as error:
            self.left.append(f"native: {error}")
            return None
        return _finished(program, {"main": "native"}, self.left, {"main": parity}, self.judge)

    def _first_wrong(self, part: Part) -> str | None:
        """The first module whose tensor is wrong in a traced graph, found by running torch's modules again."""
        import numpy as np

        try:
            self._work({}, observe=part.name)
            with np.load(self.folder / OBSERVED_FILE, allow_pickle=False) as arrays:
                observed = {name: arrays[name] for name in arrays.files}
            return first_wrong(part.path, part.cases[0].inputs, observed, self.judge.tensors)
        except EdgepackError:
            # It explains a failure that is reported anyway.
            return None
        finally:
            (self.folder / OBSERVED_FILE).unlink(missing_ok=True)

    def _work(self, rungs: Rungs | None, *, observe: str | None = None) -> dict[str, Any]:
        """One request to a worker process; opened lean first, in full when that fails.

        Raises:
            EdgepackError: What the worker found, as it found it.
            ExportError: The worker crashed or hung.
        """
        error: EdgepackError | None = None
        for lean in (True, False):
            request = self.folder / "request.json"
            answer_file = self.folder / ANSWER_FILE
            answer_file.unlink(missing_ok=True)
            asked = {
                "source": self.source.request.anywhere().to_json(),
                "folder": str(self.folder),
                "rungs": rungs,
                "observe": observe,
                "lean": lean,
            }
            request.write_text(json.dumps(asked))
            command = [sys.executable, "-m", "edgepack.exporters._worker", str(request)]
            try:
                run_tool(
                    "The model's process",
                    command,
                    time_limit_s=self.time_limit_s,
                    cwd=Path.cwd(),
                    expect=[answer_file],
                )
            except ToolchainFailedError as failed:
                raise ExportError(failed.what, where=self.source.request.model, todo=failed.todo) from failed
            answer = read_answer(answer_file)
            error = error_in(answer)
            if error is None:
                return answer
            if "ModuleNotFoundError" not in answer["trace"] and "ImportError" not in answer["trace"]:
                break
        assert error is not None  # noqa: S101 - the loop ran
        raise error
