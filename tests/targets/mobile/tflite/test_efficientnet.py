"""EfficientNet-Lite0 with trained weights on photographs, in float and in int8, against ONNX Runtime."""

import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.test_quantized_models import as_it_runs, near

EXAMPLES = Path(__file__).parents[4] / "examples"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    """The model, an image under its input's name, and more photographs."""
    import torch

    example = runpy.run_path(str(EXAMPLES / "efficientnet_lite0.py"))
    network, (images,) = example["model"]()
    program = torch.onnx.export(network, (images[:1],), dynamo=True, verbose=False, optimize=True)
    model = program.model_proto
    name = model.graph.input[0].name
    return (
        model,
        {name: images[:1].numpy()},
        [{name: crop["inputs"]} for crop in example["photos"](4, seed=3)],
    )


def test_in_float(network, tmp_path):
    model, feeds, _ = network
    (want,) = harness.expected(model, feeds)
    conversion = harness.converted(model, tmp_path / "m.tflite")
    (got,) = harness.run(tmp_path / "m.tflite", feeds, [model.graph.output[0].name])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert dict(conversion.operators) == {
        "CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1,
    }  # fmt: skip


def test_quantized(network, tmp_path):
    model, feeds, photos = network
    made, steps = quantize.quantized(model, feeds, "int8")
    onnx.checker.check_model(made)
    conversion = harness.converted(made, tmp_path / "m.tflite")
    assert harness.computes_in_float(tmp_path / "m.tflite") == []
    assert conversion.operators["PAD"] == 0
    ((output, step),) = steps.items()
    ours, theirs = [], []
    for photo in photos:
        want, other = harness.expected(made, photo)[0], as_it_runs(made, photo)[0]
        (got,) = harness.run(tmp_path / "m.tflite", photo, [output])
        ours.append(near(got, want, step))
        theirs.append(near(other, want, step))
        assert np.abs(got - want).max() <= 6 * step
    # Single steps add up over 60 layers, in ONNX Runtime's kernels as in LiteRT's.
    assert np.mean(ours) >= np.mean(theirs) - 0.03
