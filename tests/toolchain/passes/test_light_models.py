"""The nine convolutional networks that onnx ships (weights made by nodes) run alike before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import save

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def test_they_are_all_there():
    assert len(LIGHT) == 9


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_runs_alike(path, run, rng, tmp_path):
    model = ir.load(path)
    nodes = len(model.graph)
    clean_up(model)
    saved = save(model, tmp_path, "clean")
    assert len(model.graph) <= nodes
    # Weights of these files are ConstantOfShape nodes; folded they would be up to 574 MB.
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1.5 * path.stat().st_size
    (value,) = model.graph.inputs
    assert value.shape is not None
    feeds = {value.name: rng.standard_normal(value.shape.numpy()).astype(np.float32)}
    for before, after in zip(run(str(path), feeds), run(str(saved), feeds), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-7)
