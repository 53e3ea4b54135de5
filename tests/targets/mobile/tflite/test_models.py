"""MiniLM in float, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.exporters.native.bert import build as bert
from edgepack.targets.mobile._tflite.convert import convert
from tests.targets.mobile.tflite import harness

EXAMPLES = Path(__file__).parents[4] / "examples"
pytestmark = pytest.mark.slow


def reference(path, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def test_minilm(minilm, tmp_path):
    import json

    from edgepack.toolchain.passes.storage import save

    model = bert(minilm, json.loads((minilm / "config.json").read_text()), "sentence-similarity")
    path = save(model, tmp_path, "minilm")
    rng = np.random.default_rng(0)
    mask = np.ones((2, 40), np.int64)
    mask[1, 25:] = 0
    feeds = {
        "input_ids": rng.integers(0, 30000, (2, 40)),
        "attention_mask": mask,
        "token_type_ids": np.zeros((2, 40), np.int64),
    }
    (want,) = reference(path, feeds)
    conversion = convert(ir.load(path), tmp_path / "m.tflite", sizes={"batch": 2, "sequence": 40})
    (got,) = harness.run(tmp_path / "m.tflite", feeds, ["sentence_embedding"])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    # A linear layer is one operator with its bias, a GELU one, and attention no more than litert-torch makes of it.
    assert conversion.operators["FULLY_CONNECTED"] == 36
    assert conversion.operators["GELU"] == 6
    assert conversion.operators["BATCH_MATMUL"] == 12
    assert sum(conversion.operators.values()) < 370
