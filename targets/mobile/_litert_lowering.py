"""From a torch model to a float `.tflite` file: the lowering that LiteRT and Arm's Ethos-U share.

The conversion runs in a process of its own (`_litert_worker`): it takes a gigabyte, prints, and runs
the model's own code.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgepack.targets.base import Context, Requirement
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, UsageError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.subprocesses import run_tool

LOWER_KEY = "litert-torch"
MODEL_FILE = "model.tflite"
REQUEST_FILE = "request.json"
WORKER = "edgepack.targets.mobile._litert_worker"
INSTALL = "pip install edgepack"
CONVERTER = Requirement("litert-torch", INSTALL)
QUANTIZER = Requirement("ai-edge-quantizer", INSTALL)
RUNTIME = Requirement("ai-edge-litert", INSTALL)


def lower(target: str, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
    """Convert one part to a float `.tflite` with static shapes, inputs and outputs named as in the signature.

    Args:
        target: Name of the asking target, for messages.
        program: Where the part comes from.
        part: The part; its named dimensions are pinned to `context.sizes`.
        context: The source, the sizes, the time limit.
        folder: Receives the file.

    Raises:
        TargetError: The source has no torch model behind it, or the model cannot be converted, as one with native
            operators.
        UsageError: A named dimension has no size.
        ToolchainFailedError: The converter crashed, hung or wrote nothing.
    """
    _check_source(target, program, part)
    signature = pin(part.signature, context.sizes, target)
    folder = folder.resolve()  # the worker runs in it: a relative path would mean something else there
    request = {
        "source": dict(context.source),
        "part": part.name,
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
        raise ToolchainFailedError("litert-torch ended with exit code 0 and wrote no model", where=target)
    return Lowered(part.name, "tflite", path, signature, notes=tuple(answer["notes"]))


def pin(signature: Signature, sizes: Any, where: str) -> Signature:
    """The signature with every named dimension replaced by its size.

    Raises:
        UsageError: A dimension has no size.
    """

    def fixed(spec: TensorSpec) -> TensorSpec:
        try:
            return TensorSpec(spec.name, spec.dtype, spec.resolve(sizes))
        except KeyError as error:
            raise UsageError(
                f"{where} needs a fixed size for the dimension '{error.args[0]}' of {spec}",
                todo=f"Give one, for example: --size {error.args[0]}=128",
            ) from None

    return Signature(tuple(map(fixed, signature.inputs)), tuple(map(fixed, signature.outputs)))


def _check_source(target: str, program: Program, part: Part) -> None:
    refuse_native(part.model(), target, part.name)
    source = program.source.get("kind")
    if source == "onnx":
        raise TargetError(
            f"{target} is built from the PyTorch model, and an ONNX file was given",
            where=str(program.source.get("location") or part.path),
            todo="Export from where the ONNX file came from (a Hugging Face folder, module:factory, .pt2), "
            "or use --target cpu:onnxruntime; a converter from ONNX to TFLite is planned",
        )
    growing = _growing(program, part)
    if growing:
        raise TargetError(
            f"{target} has fixed shapes, and the state '{growing}' grows from call to call",
            where=f"part {part.name}",
            todo="Use --target cpu:onnxruntime, or give the model a cache of fixed length",
        )


def _growing(program: Program, part: Part) -> str | None:
    """A state that enters the part with another length than it leaves with; None when there is none."""
    for link in program.links:
        if link.to_part == part.name:
            source = program.parts[link.from_part].signature.output(link.output)
            into = part.signature.input(link.input)
            if source.shape != into.shape:
                return link.input
    return None
