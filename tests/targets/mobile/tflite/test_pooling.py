"""Margins of maxima: zeros where that is the same, so that integers keep their steps for what the image holds."""

import numpy as np
import pytest

from tests.targets.mobile.tflite import harness
from tests.targets.mobile.tflite.networks import Network


@pytest.mark.parametrize(("behind", "margin"), [("Relu", "PAD"), ("Sigmoid", "PAD"), ("Tanh", "PADV2")])
def test_margins_behind_what_is_never_negative_are_zeros(behind, margin, tmp_path):
    n = Network()
    x = n.op(behind, n.conv(n.input("image", 1, 3, 8, 8), 3, 4))
    model = n.model(n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    path = tmp_path / "model.tflite"
    conversion = harness.converted(model, path)
    assert conversion.operators[margin] == 1
    assert {"PAD", "PADV2"} & conversion.operators.keys() == {margin}
    (want,) = harness.expected(model, n.feeds)
    (got,) = harness.run(path, n.feeds, [model.graph.output[0].name])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
