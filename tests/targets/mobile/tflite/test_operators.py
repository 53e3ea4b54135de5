"""Every operator that is translated, over shapes and quantization parameters, against ONNX Runtime."""

import numpy as np
import pytest

from edgepack.targets.mobile._tflite.base import operators
from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.cases import CASES

IN_FLOAT = {"AveragePool", "Mean", "LayerNormalization"}
# Unsigned integers are shifted where they enter, whatever reads them: one operator of each kind.
UNSIGNED = {"Add", "Concat", "Conv", "Gemm", "MatMul", "MaxPool", "Pad", "ReduceMean", "Reshape", "Sigmoid"}


def taken(case, kind):
    if kind == "uint8":
        return case.op in UNSIGNED and bool(case.integer)
    # The standard has 16 bits from operator set 21 on.
    return bool(case.integer or case.quantized or case.op in IN_FLOAT) and (
        kind == "int8" or case.opset >= harness.OPSET
    )


QUANTIZED = [(case, kind) for case in CASES for kind in ("int8", "uint8", "int16") if taken(case, kind)]


def test_every_operator_has_a_case():
    assert set(operators.names()) == {case.op for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float(case, tmp_path):
    model, feeds = harness.build(case)
    path = tmp_path / "model.tflite"
    conversion = harness.converted(model, path)
    outputs = [f"o{index}" for index in range(case.outputs)]
    got = harness.run(path, feeds, outputs)
    for result, wanted in zip(got, harness.expected(model, feeds), strict=True):
        assert result.shape == wanted.shape
        if wanted.dtype.kind in "biu":
            np.testing.assert_array_equal(result, wanted)
        else:
            size = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=case.tolerance * size)
    if case.uses:
        assert case.uses in conversion.operators


@pytest.mark.parametrize(("case", "kind"), QUANTIZED, ids=lambda it: it if isinstance(it, str) else it.name)
def test_quantized(case, kind, tmp_path):
    own = "int8" if kind == "uint8" else kind
    plain, feeds = harness.build(case)
    model, steps = quantize.quantized(plain, feeds, own, unsigned=kind == "uint8")
    path = tmp_path / "model.tflite"
    conversion = harness.converted(model, path)
    outputs = [value.name for value in model.graph.output]
    allowed = case.steps if kind == "int16" else 1
    got = harness.run(path, feeds, outputs)
    for name, result, wanted in zip(outputs, got, harness.expected(model, feeds), strict=True):
        assert result.shape == wanted.shape
        if wanted.dtype == np.float32:
            assert np.abs(result - wanted).max() <= (allowed + 0.01) * steps[name]
        else:
            np.testing.assert_array_equal(result, wanted)
    assert bool(harness.computes_in_float(path)) == (own not in case.integer), dict(conversion.in_float)
