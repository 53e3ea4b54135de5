"""The process in which a model's own code runs: opens it, records it, traces it.

    python -m edgepack.exporters._worker request.json

The request names a folder, which receives a program (`Program.save`) and `answer.json`: either
{"ok": true, ...} or the error to raise in the parent. What the model prints goes nowhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import errors
from edgepack.toolchain.answers import ANSWER_FILE, write_answer
from edgepack.toolchain.program import PROGRAM_FILE

if TYPE_CHECKING:
    from edgepack.exporters.sources import TorchModel, TorchPart
    from edgepack.exporters.weight_file import WeightFile
    from edgepack.toolchain.program import Case, Signature

RAW_FILE = "{}.raw.onnx"
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
        return _observe(model.parts[request["observe"]], folder)
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
        others were left], "next": [rungs that are left to try]}}

    Raises:
        ExportError: A part was not exported by any of its rungs.
        SourceError: The model raised, or returned what is not tensors.
    """
    from edgepack.exporters.record import record
    from edgepack.exporters.weight_file import WeightFile
    from edgepack.toolchain.program import Part, Program

    answer: dict[str, Any] = {}
    parts: dict[str, Part] = {}
    wanted = {name: rungs_of(model, name) for name in model.parts} if rungs is None else rungs
    # Written anew for the parts that are traced now: those of earlier requests keep their own file.
    with WeightFile(_free(folder, "raw.data")) as weights:
        for name in wanted:
            part = model.parts[name]
            cases, signature = record(part)
            path = folder / RAW_FILE.format(name)
            rung: str | None = None
            left: list[str] = []
            if wanted[name]:
                rung, signature, left = climb(part, signature, wanted[name], path, weights)
                if rung == "static":
                    cases = _of_size(part, cases)
            parts[name] = Part(name, path, signature, cases, initial=part.initial)
            following = list(wanted[name])[list(wanted[name]).index(rung) + 1 :] if rung else []
            answer[name] = {"rung": rung, "left": left, "next": following}
    rollout = model.rollout() if model.rollout is not None and rungs is None else []
    if rungs is not None and (folder / PROGRAM_FILE).exists():
        before = Program.load(folder)
        parts = {**before.parts, **parts}
        rollout = list(before.rollout)
        # Read them now: saving writes over the files that they lie in.
        for kept in parts.values():
            kept.cases = list(kept.cases)
    program = Program(
        {name: parts[name] for name in model.parts if name in parts},
        model.links, model.facts.model_dump(), model.notes, rollout,
    )  # fmt: skip
    program.save(folder)
    return answer


def rungs_of(model: TorchModel, part: str) -> list[str]:
    """The rungs that suit a part: one whose state grows from call to call cannot have a fixed size."""
    from edgepack.exporters.torch_onnx import RUNGS

    stateful = any(part in {link.from_part, link.to_part} for link in model.links)
    varies = stateful and bool(model.parts[part].signature.symbols)
    return [rung for rung in RUNGS if not (varies and rung == "static")]


def _free(folder: Path, name: str) -> Path:
    """A file of that name that is not there yet."""
    path, number = folder / name, 1
    while path.exists():
        path, number = folder / f"{number}.{name}", number + 1
    return path


def climb(
    part: TorchPart, signature: Signature, rungs: list[str], path: Path, weights: WeightFile
) -> tuple[str, Signature, list[str]]:
    """Try rungs in order until one writes a graph.

    Returns:
        The rung, the graph's signature, and for each rung before it "name: reason".

    Raises:
        ExportError: None did; the message holds every reason.
    """
    from edgepack.exporters import torch_onnx

    left: list[str] = []
    for rung in rungs:
        try:
            return rung, torch_onnx.export(part, signature, rung, path, weights), left
        except Exception as error:  # noqa: BLE001 - torch raises anything; the reason is recorded
            left.append(f"{rung}: {reason(error)}")
    raise errors.ExportError(
        "No way of exporting this model worked. " + " / ".join(left),
        where=part.where,
        todo="Change what is named above, or export a part of the model as file.py:factory",
    )


def reason(error: BaseException) -> str:
    """The first telling lines of a torch error, innermost cause first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:400]


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
