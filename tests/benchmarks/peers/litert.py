"""LiteRT: litert-torch's converter, ai-edge-quantizer's recipes, XNNPACK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peers import models
from tests.benchmarks.peers.base import Call, Peer, exported, input_names, name_of
from tests.benchmarks.peers.models import Feed, Task

FILE, FLOAT = "model.tflite", "fp32"
DYNAMIC, STATIC, WEIGHTS_4 = "dynamic int8", "static int8", "dynamic int8, 4-bit weights"
_IMAGE = 4  # axes


class LiteRt(Peer):
    """Images are taken channels-last, as the converter's documentation advises."""

    title = "LiteRT"
    distributions = ("ai-edge-litert", "litert-torch", "ai-edge-quantizer")

    def forms(self, task: Task) -> Sequence[str]:
        """Float first: the others are made from it."""
        quantized = (DYNAMIC,) if task.transformer else (STATIC, DYNAMIC)
        return (FLOAT, *quantized, *((WEIGHTS_4,) if "GPT" in name_of(task) else ()))

    def build(self, task: Task, form: str, raw: Path | None, folder: Path) -> None:
        """Convert, or quantize what was converted."""
        del raw
        if form == FLOAT:
            import litert_torch

            module, _, args = exported(task)
            if args[0].ndim == _IMAGE:
                module = litert_torch.to_channel_last_io(module, args=[0]).eval()
                args = (args[0].permute(0, 2, 3, 1).contiguous(),)
            litert_torch.convert(module, args).export(str(folder / FILE))
            return
        from ai_edge_quantizer import quantizer, recipe

        recipes = {
            DYNAMIC: recipe.dynamic_wi8_afp32,
            STATIC: recipe.static_wi8_ai8,
            WEIGHTS_4: recipe.dynamic_wi4_afp32,
        }
        source = str(folder.parent / "0" / FILE)
        tool = quantizer.Quantizer(source, recipes[form]())
        ranges = tool.calibrate(_calibration(task, source)) if form == STATIC else None
        tool.quantize(ranges).export_model(str(folder / FILE))

    def open(self, task: Task, form: str, folder: Path) -> Call:
        """An interpreter of one thread, with its default delegate."""
        from ai_edge_litert.interpreter import Interpreter

        del form
        interpreter: Any = Interpreter(str(folder / FILE), num_threads=1)
        interpreter.allocate_tensors()
        inputs, outputs = _details(interpreter, task)

        def call(feed: Feed) -> np.ndarray:
            for name, detail in inputs:
                interpreter.set_tensor(detail["index"], _given(feed[name], detail))
            interpreter.invoke()
            found = [_taken(interpreter.get_tensor(detail["index"]), detail) for detail in outputs]
            return found[0]

        return call


def _details(interpreter: Any, task: Task) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Inputs by our names, and outputs, in the module's order: the converter calls them args_0, output_0."""
    runner = interpreter.get_signature_runner()
    given, made = runner.get_input_details(), runner.get_output_details()
    names = input_names(task)
    inputs = [(name, given[f"args_{i}"]) for i, name in enumerate(names) if f"args_{i}" in given]
    return inputs, [made[f"output_{i}"] for i in range(len(made))]


def _given(value: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if value.ndim == _IMAGE and tuple(detail["shape"]) != value.shape:
        value = value.transpose(0, 2, 3, 1)
    if detail["dtype"] == np.int8:
        scale, zero = detail["quantization"]
        value = np.clip(np.rint(value / scale) + zero, -128, 127)
    return np.ascontiguousarray(value, dtype=detail["dtype"])


def _taken(value: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if detail["dtype"] != np.int8:
        return value
    scale, zero = detail["quantization"]
    return np.asarray((value.astype(np.float32) - zero) * scale)


def _calibration(task: Task, path: str) -> dict[str, list[dict[str, np.ndarray]]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(path)
    (signature,) = interpreter.get_signature_list()
    inputs, _ = _details(interpreter, task)
    places = {name: f"args_{index}" for index, name in enumerate(input_names(task))}
    feeds = models.samples(name_of(task)).calibration
    rows = [{places[name]: _given(feed[name], detail) for name, detail in inputs} for feed in feeds]
    return {signature: rows}


PEER = LiteRt()
