"""Runs ONNX files as they are written: with every optimization of the runtime off.

A model that came quantized has two readings. As written, an operator computes in float32 between a
DequantizeLinear and a QuantizeLinear; optimized, the three are one integer kernel, which rounds elsewhere. Whether
edgepack changed the model is asked of the first reading, exactly; how far the second is from it is a fact about
model and runtime, and the gate of the precision "as-given" judges it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature
from edgepack.toolchain.quantized import already_quantized

if TYPE_CHECKING:
    import numpy as np


def came_quantized(path: Path) -> bool:
    """Whether an ONNX file holds quantized operators."""
    import onnx_ir as ir

    return already_quantized(ir.load(path)) is not None


def run_as_written(
    path: Path, signature: Signature, feeds: Iterable[Mapping[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """Outputs of an ONNX file for every feed, nothing fused.

    Raises:
        SourceError: The runtime does not take the file, or it fails on a feed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    names = [spec.name for spec in signature.outputs]
    try:
        session = onnx_sessions.opened(path, options)
        return [dict(zip(names, session.run(names, dict(feed)), strict=True)) for feed in feeds]
    except Exception as error:
        raise SourceError(f"ONNX Runtime does not run {path.name}: {error}", where=str(path)) from error
