"""Which layers are a stem: such with multiplications, and nothing behind them that only moves numbers."""

from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize._tflite_ends import _stem
from edgepack.toolchain import tflite
from tests.targets.mobile.tflite import harness
from tests.targets.mobile.tflite.networks import Network


def stem(folder: Path, *layers: str, channels: int = 4) -> list[str]:
    """The stem of a network of a small first convolution, these layers, and one that is most of the work."""
    n = Network()
    x = n.conv(n.input("image", 1, 3, 16, 16), 3, channels)
    for layer in layers:
        if layer == "MaxPool":
            x = n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        elif layer == "HardSwish":
            x = n.op("HardSwish", x)
        else:
            x = n.op("Pad", x, n.weight(np.array([0, 0, 1, 1, 0, 0, 0, 0])))
    x = n.conv(n.conv(x, channels, 48, 5, pads=[2] * 4), 48, 48)
    path = folder / "m.tflite"
    harness.converted(n.model(x), path)
    model = tflite.read(path)
    assert next(tflite.operators(model)).op == "CONV_2D"
    return [operator.op for operator in _stem(model)]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ((), ["CONV_2D"]),
        (("Pad",), ["CONV_2D"]),
        (("HardSwish", "Pad"), ["CONV_2D"]),
        (("MaxPool",), ["CONV_2D", "MAX_POOL_2D"]),
        (("MaxPool", "Pad"), ["CONV_2D", "MAX_POOL_2D"]),
    ],
)
def test_a_stem_ends_with_its_last_multiplications(layers, found, tmp_path):
    assert stem(tmp_path, *layers) == found


def test_a_padding_alone_is_none(tmp_path):
    n = Network()
    x = n.conv(n.input("image", 1, 3, 16, 16), 3, 16, pads=[1] * 4, strides=[2, 2])
    harness.converted(n.model(n.conv(x, 16, 16)), tmp_path / "m.tflite")
    model = tflite.read(tmp_path / "m.tflite")
    assert [operator.op for operator in tflite.operators(model)][:3] == ["PAD", "CONV_2D", "CONV_2D"]
    assert _stem(model) == []
