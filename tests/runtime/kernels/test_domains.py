"""The domains that a file imports are read from the file's frame, whatever stands in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from edgepack.runtime.kernels._domains import imported_domains
from tests.runtime.kernels.layers import BinaryLayer


def test_what_a_model_imports(tmp_path: Path) -> None:
    model = BinaryLayer.random(np.random.default_rng(0), 300, 500).model(fallback=True)
    model.producer_name = "edgepack of some length, so that the fields before are not empty"
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert imported_domains(path) - {""} == {"edgepack"}
    assert imported_domains(path.read_bytes()) == imported_domains(path)


def test_a_domain_named_elsewhere_is_not_imported() -> None:
    text = '<ir_version: 8, opset_import: ["" : 18]> edgepack (float[1] edgepack) => (float[1] y) { y = Neg(edgepack) }'
    model = onnx.parser.parse_model(text)
    model.producer_name = model.domain = "edgepack"
    assert "edgepack" not in imported_domains(model.SerializeToString())


def test_rubbish_imports_nothing_and_hangs_on_nothing() -> None:
    rng = np.random.default_rng(1)
    good = BinaryLayer.random(rng, 3, 9).model().SerializeToString()
    assert imported_domains(b"") == set()
    for length in range(len(good)):
        assert imported_domains(good[:length]) <= {"", "edgepack"}
    for _ in range(2000):
        imported_domains(rng.bytes(int(rng.integers(1, 200))))
        broken = bytearray(good)
        broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
        imported_domains(bytes(broken))
