"""k230: what is handed to nncase, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepack.quantize.k230 import K230
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from tests.qnn_models import network, samples


@pytest.mark.parametrize(("precision", "dtype"), [("int8-static", "uint8"), ("int16x8-static", "int16")])
def test_model_samples_and_settings(precision: str, dtype: str, tmp_path: Path) -> None:
    made = K230().quantize(
        network(tmp_path), precision, samples(), tmp_path / "q", ranges="divergence", weights="int8"
    )
    assert (made.precision, made.changed_nodes) == (precision, 3)
    with np.load(made.path.with_name("samples.npz")) as arrays:
        assert np.array_equal(arrays["arr_0"], np.stack([feed["x"] for feed in samples().samples]))
    config = json.loads(made.path.with_name("config.json").read_text())
    assert config == {"quant_type": dtype, "w_quant_type": "int8", "calibrate_method": "Kld"}
    assert f"activations as {dtype}, weights as int8, ranges by divergence over 16 samples" in made.notes[0]


def test_refusals(tmp_path: Path) -> None:
    base = network(tmp_path)
    with pytest.raises(UsageError, match="needs calibration data"):
        K230().quantize(base, "int8-static", None, tmp_path / "q")
    with pytest.raises(UnknownNameError, match="mode"):
        K230().quantize(base, "int8-static", samples(), tmp_path / "q", ranges="mode")
    model = onnx.load(base.path)
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("Relu", ["x"], ["y"]))
    model.graph.output[0].type.tensor_type.shape.CopyFrom(model.graph.input[0].type.tensor_type.shape)
    onnx.save(model, base.path)
    with pytest.raises(TargetError, match="the KPU has nothing to do"):
        K230().quantize(base, "int8-static", samples(), tmp_path / "q")
