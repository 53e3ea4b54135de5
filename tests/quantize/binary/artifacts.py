"""Frozen modules as files that ONNX Runtime opens, with and without the native operators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import nn

from edgepack.runtime import kernels
from edgepack.toolchain.native_operators import add_functions

FORMS = {"kernel": True, "function": False}
"""Who computes the native operators."""


def written(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, **options: Any) -> Path:
    """The module as an ONNX file with the functions of its native operators."""
    program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, **options)
    assert program is not None
    assert add_functions(program.model) > 0
    ir.save(program.model, path)
    return path


def run(path: Path, inputs: Sequence[np.ndarray], *, native: bool) -> list[np.ndarray]:
    """All outputs in plain ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if native:
        assert kernels.register(options), kernels.why_not()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {value.name: array for value, array in zip(session.get_inputs(), inputs, strict=True)}
    found: list[np.ndarray] = session.run(None, feeds)
    return found


def exposed(path: Path, into: Path) -> list[str]:
    """Write the file once more, with what each native operator reads as an output; their names."""
    model = ir.load(path)
    read = [node.inputs[0] for node in model.graph if node.domain == kernels.DOMAIN]
    model.graph.outputs.extend(read)
    ir.save(model, into)
    return [str(value.name) for value in read]
