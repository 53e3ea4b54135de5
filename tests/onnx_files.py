"""The smallest ONNX files that tests need."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir


def empty_model(path: Path) -> Path:
    """Write a model without a node at `path`: for what asks a part's file and not its numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 20}), ir_version=10), path)
    return path
