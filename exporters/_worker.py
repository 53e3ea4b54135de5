"""The process in which a model's own code runs: opens it, records it, traces it.

    python -m edgepack.exporters._worker request.json

The request names a folder, which receives a program (`Program.save`) and `answer.json`: either
{"ok": true, ...} or the error to raise in the parent. What the model prints goes nowhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.refusals import grouped, reason
from edgepack.toolchain import errors
from edgepack.toolchain.answers import ANSWER_FILE, write_answer
from edgepack.toolchain.program import PROGRAM_FILE

if TYPE_CHECKING:
    from edgepack.exporters.sources import TorchModel, TorchPart
    from edgepack.exporters.torch_onnx import Written
    from edgepack.exporters.weight_file import WeightFile
    from edgepack.toolchain.program import Case, Part, Signature

RAW_FILE = "{}.raw.onnx"
SPLIT = "split"
OBSERVED_FILE = "observed.npz"
# Distributions that transformers imports when they are there and that no forward pass needs: leaving
# them out saves about a second. A model that does need one is opened again with them (`lean` false).
_OPTIONAL = ("torchao", "scipy", "sklearn", "accelerate", "sentence_transformers")


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    folder = Path(request["folder"])
    write_answer(folder / ANSWER_FILE, lambda: work(request, folder))


def work(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Record the references and climb the tracing rungs that each part was given.

    The request's "rungs" say for every part which rungs to try, in order; null means all of them for
    every part, an empty list only to record. Parts that are not named are left as they are.

    With "observe", only what the modules of that part return is written (`OBSERVED_FILE`).

    Returns:
        Under "parts" what `export_model` returns.
    """
    if request["lean"]:
        for name in _OPTIONAL:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    from edgepack.exporters.sources import open_source
    from edgepack.exporters.sources.base import SourceRequest

    model = open_source(SourceRequest.from_json(request["source"])).open_torch()
    if request["observe"]:
        from edgepack.exporters.taming import tamed

        return _observe(find_part(tamed(model), request["observe"]), folder)
    return {"parts": export_model(model, folder, request["rungs"])}


def _observe(part: TorchPart, folder: Path) -> dict[str, Any]:
    """Write what every module of a part returns for its first case."""
    import numpy as np
    import torch

    from edgepack.exporters.first_wrong import observe

    inputs = part.example(part.sizes, 0)
    seen = observe(part.module, [torch.from_numpy(value.copy()) for value in inputs.values()])
    np.savez(folder / OBSERVED_FILE, **seen)  # type: ignore[arg-type]
    return {"modules": len(seen)}


@dataclass
class _Exported:
    """A part, the rung that wrote its graph, and what the answer says of it."""

    part: Part
    rung: str | None = None
    left: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Its entry in the answer."""
        return {"rung": self.rung, "left": self.left, "next": self.following, "notes": self.notes}


def export_model(
    model: TorchModel, folder: Path, rungs: Mapping[str, list[str]] | None = None
) -> dict[str, Any]:
    """Record and trace an opened model into `folder`, as a `Program`.

    Args:
        model: The opened model.
        folder: Receives one graph a part, one file of weights, and the program.
        rungs: As in a request.

    Returns:
        {part: {"rung": the one that wrote its graph, or None when only recording, "left": [reasons why
        others were left], "next": [rungs that are left to try], "notes": [on that graph]}}. A part that was
        split is missing; its children are there instead.

    Raises:
        ExportError: A part was not exported by any of its rungs, or draws random numbers or keeps a state in
            a way that cannot be made an input.
        SourceError: The model raised, or returned what is not tensors.
        UsageError: A size beyond what the model allows.
    """
    from edgepack.exporters.taming import tamed
    from edgepack.exporters.weight_file import WeightFile
    from edgepack.toolchain.program import Program

    model = tamed(model)
    wanted = {name: rungs_of(model, name) for name in model.parts} if rungs is None else rungs
    done: dict[str, _Exported] = {}
    # Written anew for the parts that are traced now: those of earlier requests keep their own file.
    with WeightFile(_free(folder, "raw.data")) as weights:
        for name in wanted:
            done |= _export(name, find_part(model, name), list(wanted[name]), folder, weights)
    rollout = model.rollout() if model.rollout is not None and rungs is None else []
    parts = {name: one.part for name, one in done.items()}
    if rungs is not None and (folder / PROGRAM_FILE).exists():
        before = Program.load(folder)
        replaced = set(wanted) - set(parts)
        parts = {**{name: p for name, p in before.parts.items() if name not in replaced}, **parts}
        rollout = list(before.rollout)
        # Read them now: saving writes over the files that they lie in.
        for kept in parts.values():
            kept.cases = list(kept.cases)
    program = Program(_ordered(parts, model), model.links, model.facts.model_dump(), model.notes, rollout)
    program.save(folder)
    return {name: one.told() for name, one in done.items()}


def _ordered(parts: Mapping[str, Part], model: TorchModel) -> dict[str, Part]:
    """Parts in the model's order, children where the part that they come from was."""
    ordered: dict[str, Part] = {}
    for parent in model.parts:
        for name, part in parts.items():
            if name == parent or name.startswith(f"{parent}.") or (parent == "main" and "main" not in parts):
                ordered.setdefault(name, part)
    return ordered


def find_part(model: TorchModel, name: str) -> TorchPart:
    """A part of a tamed model, or a child of one that was split.

    Raises:
        ExportError: There is none of that name.
    """
    if name in model.parts:
        return model.parts[name]
    for parent, part in model.parts.items():
        children, _ = _children(parent, part)
        if name in children:
            return children[name]
    raise errors.ExportError(f"The model has no part '{name}'", where=model.facts.location)


def _children(name: str, part: TorchPart) -> tuple[dict[str, TorchPart], list[str]]:
    """A part split, its children tamed; and notes.

    Raises:
        SourceError: Nothing useful comes out.
    """
    from edgepack.exporters.rungs.split import split
    from edgepack.exporters.sources.base import TorchModel
    from edgepack.exporters.taming import tamed
    from edgepack.toolchain.results import SourceFacts

    children, note = split(name, part)
    facts = SourceFacts(kind="factory", location=part.where, fingerprint="")
    model = tamed(TorchModel(children, facts))
    if model.links:
        raise errors.ExportError("a child keeps a state", where=part.where)
    return model.parts, [note, *model.notes]


def _export(
    name: str, part: TorchPart, rungs: list[str], folder: Path, weights: WeightFile
) -> dict[str, _Exported]:
    """A part by the first of its rungs that writes a graph; several parts when that is `split`.

    Raises:
        ExportError: None did; the message holds every reason.
    """
    from edgepack.exporters.record import record
    from edgepack.exporters.rungs.torchscript import alternatives
    from edgepack.toolchain.program import Part

    path = folder / RAW_FILE.format(name)
    cases, signature = record(part)
    if not rungs:
        return {name: _Exported(Part(name, path, signature, cases, initial=part.initial))}
    tracing = [rung for rung in rungs if rung != SPLIT]
    try:
        rung, written, left = climb(part, signature, tracing, path, weights)
    except errors.ExportError as error:
        if SPLIT not in rungs:
            raise
        return _split(name, part, error, folder, weights)
    if rung == "static":
        cases = _of_size(part, cases)
    if rung == "torchscript":
        cases += alternatives(part)
    made = Part(name, path, written.signature, cases, initial=part.initial)
    return {name: _Exported(made, rung, left, rungs[rungs.index(rung) + 1 :], list(written.notes))}


def _split(
    name: str, part: TorchPart, tried: errors.ExportError, folder: Path, weights: WeightFile
) -> dict[str, _Exported]:
    """A part's children, each by a rung of its own; the reasons why the part was left go with the first.

    Raises:
        ExportError: As `tried`, with the reason why splitting is of no use.
    """
    from edgepack.exporters.torch_onnx import RUNGS

    left = list(getattr(tried, "left", []))
    done: dict[str, _Exported] = {}
    try:
        children, notes = _children(name, part)
        for child, made in children.items():
            done |= _export(child, made, list(RUNGS), folder, weights)
    except errors.SourceError as error:
        raise _NoRungError([*left, f"{SPLIT}: {reason(error)}"], part.where) from error
    first = next(iter(done.values()))
    first.left = [*left, *first.left]
    first.notes = [*notes, *first.notes]
    return done


class _NoRungError(errors.ExportError):
    """Every rung was left; `left` says why."""

    def __init__(self, left: list[str], where: str) -> None:
        super().__init__(
            "No way of exporting this model worked. " + grouped(left),
            where=where,
            todo="Change what is named above, or export a part of the model as file.py:factory",
        )
        self.left = left


def rungs_of(model: TorchModel, part: str) -> list[str]:
    """The rungs that suit a part: one with states cannot be split, nor be static when they grow with the calls."""
    from edgepack.exporters.torch_onnx import RUNGS

    stateful = any(part in {link.from_part, link.to_part} for link in model.links)
    if not stateful:
        return [*RUNGS, SPLIT]
    varies = bool(model.parts[part].signature.symbols)
    return [rung for rung in RUNGS if not (varies and rung == "static")]


def _free(folder: Path, name: str) -> Path:
    """A file of that name that is not there yet."""
    path, number = folder / name, 1
    while path.exists():
        path, number = folder / f"{number}.{name}", number + 1
    return path


def climb(
    part: TorchPart, signature: Signature, rungs: list[str], path: Path, weights: WeightFile
) -> tuple[str, Written, list[str]]:
    """Try rungs in order until one writes a graph.

    Returns:
        The rung, what it wrote, and for each rung before it "name: reason".

    Raises:
        ExportError: None did; the message holds every reason.
    """
    from edgepack.exporters import torch_onnx

    left: list[str] = []
    for rung in rungs:
        try:
            return rung, torch_onnx.export(part, signature, rung, path, weights), left
        except Exception as error:  # noqa: BLE001 - torch raises anything; the reason is recorded
            left.append(f"{rung}: {reason(error, part.module)}")
    raise _NoRungError(left, part.where)


def _of_size(part: TorchPart, cases: list[Case]) -> list[Case]:
    """Three cases of the one size that a static graph takes."""
    from dataclasses import replace

    from edgepack.exporters.record import record

    sizes = dict(part.sizes)
    fixed = replace(
        part, limits=sizes, sizes={}, size_sets=(), example=lambda _, seed: part.example(sizes, seed)
    )
    return record(fixed)[0] if sizes else cases


if __name__ == "__main__":
    main(sys.argv[1])
