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
from typing import Any

from edgepack.toolchain import errors
from edgepack.toolchain.answers import ANSWER_FILE, write_answer

RAW_FILE = "raw.onnx"
# Distributions that transformers imports when they are there and that no forward pass needs: leaving
# them out saves about a second. A model that does need one is opened again with them (`lean` false).
_OPTIONAL = ("torchao", "scipy", "sklearn", "accelerate", "sentence_transformers")


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    folder = Path(request["folder"])
    write_answer(folder / ANSWER_FILE, lambda: work(request, folder))


def work(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Record the references and, unless only that was asked for, climb the tracing rungs.

    Returns:
        The rung that wrote a graph (None when only recording), and the reasons others were left.
    """
    if request["lean"]:
        for name in _OPTIONAL:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    from edgepack.exporters.record import record
    from edgepack.exporters.sources import open_source
    from edgepack.exporters.sources.base import SourceRequest
    from edgepack.toolchain.program import Part, Program

    model = open_source(SourceRequest.from_json(request["source"])).open_torch()
    cases, signature = record(model)
    rung: str | None = None
    left: list[str] = []
    if request["rungs"]:
        rung, signature, left = climb(model, signature, request["rungs"], folder / RAW_FILE)
        if rung == "static":
            cases = _of_size(model, cases)
    part = Part("main", folder / RAW_FILE, signature, cases)
    Program({"main": part}, source=model.facts.model_dump(), notes=model.notes).save(folder)
    return {"rung": rung, "left": left}


def climb(model: Any, signature: Any, rungs: list[str], path: Path) -> tuple[str, Any, list[str]]:
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
            return rung, torch_onnx.export(model, signature, rung, path), left
        except Exception as error:  # noqa: BLE001 - torch raises anything; the reason is recorded
            left.append(f"{rung}: {reason(error)}")
    raise errors.ExportError(
        "No way of exporting this model worked. " + " / ".join(left),
        where=model.facts.location,
        todo="Change what is named above, or export a part of the model as file.py:factory",
    )


def reason(error: BaseException) -> str:
    """The first telling lines of a torch error, innermost cause first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:400]


def _of_size(model: Any, cases: list[Any]) -> list[Any]:
    """Three cases of the one size that a static graph takes."""
    from dataclasses import replace

    from edgepack.exporters.record import record

    sizes = dict(model.sizes)
    fixed = replace(model, limits=sizes, sizes={}, example=lambda _, seed: model.example(sizes, seed))
    return record(fixed)[0] if sizes else cases


if __name__ == "__main__":
    main(sys.argv[1])
