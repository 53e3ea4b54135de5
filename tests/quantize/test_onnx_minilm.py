"""Every method on a real sentence encoder: how close its embeddings stay, and what the file weighs.

Bounds are on the mean cosine to the float embeddings of 32 sentences that did not calibrate; beside each stands
what was measured.
"""

from __future__ import annotations

import pytest

from edgepack.quantize.base import quantizers
from edgepack.quantize.onnx_static import PRODUCTS

TRANSFORMER = {"operators": PRODUCTS, "smooth": "outliers"}


class Methods:
    """What each method made of the encoder, measured once."""

    def __init__(self, encoder, folder) -> None:
        self._encoder, self._folder = encoder, folder
        self._known: dict[str, tuple[int, float, float]] = {}

    def measure(self, name, options) -> tuple[int, float, float]:
        """Changed nodes, mean cosine, and size as a share of the float model's."""
        key = f"{name} {sorted(options.items())}"
        if key not in self._known:
            folder = self._folder / str(len(self._known))
            made = quantizers.get(name)().quantize(
                self._encoder.lowered, _precision(options), self._encoder.data, folder, **options
            )
            self._known[key] = (made.changed_nodes or 0, self._encoder.cosine(made), self._encoder.size(made))
        return self._known[key]


def _precision(options) -> str:
    """What such a file is called: the width of activations is a matter of the precision."""
    return "int16x8-static" if "16" in str(options.get("activations")) else "made"


@pytest.fixture(scope="module")
def methods(encoder, tmp_path_factory) -> Methods:
    return Methods(encoder, tmp_path_factory.mktemp("methods"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "cosine", "size"),
    [
        ("onnx-float16", {}, 0.99999, 0.51),  # 1.0000
        ("onnx-float16", {"storage": "bfloat16"}, 0.9998, 0.51),  # 0.99998
        ("onnx-weights", {"bits": 8}, 0.999, 0.3),  # 0.9996
        ("onnx-weights", {"bits": 4}, 0.94, 0.17),  # 0.962
        ("onnx-weights", {"bits": 4, "symmetric": False, "embeddings": False}, 0.955, 0.61),  # 0.971
        ("onnx-weights", {"bits": 4, "algorithm": "hqq", "embeddings": False}, 0.96, 0.63),  # 0.975
        ("onnx-weights", {"bits": 4, "algorithm": "gptq", "embeddings": False}, 0.975, 0.61),  # 0.984
        ("onnx-weights", {"bits": 4, "algorithm": "awq", "embeddings": False}, 0.96, 0.61),  # 0.975
        ("onnx-dynamic", {}, 0.997, 0.27),  # 0.9984
        ("onnx-dynamic", {"smooth": 0.5}, 0.985, 0.27),  # 0.9904
        ("onnx-static", TRANSFORMER, 0.995, 0.27),  # 0.9976
        ("onnx-static", {"operators": PRODUCTS, "smooth": 0.5}, 0.98, 0.27),  # 0.9901
        ("onnx-static", TRANSFORMER | {"ranges": "percentile"}, 0.995, 0.27),  # 0.9976
        ("onnx-static", TRANSFORMER | {"ranges": "entropy"}, 0.965, 0.27),  # 0.9766
        ("onnx-static", TRANSFORMER | {"ranges": "mse"}, 0.995, 0.27),  # 0.9974
        ("onnx-static", {"activations": "int16"}, 0.999, 0.4),  # 0.9995
        ("onnx-static", {"activations": "uint16"}, 0.999, 0.4),  # 0.9995
    ],
    ids=str,
)
def test_embeddings_stay_close(methods, name, options, cosine, size):
    changed, got, share = methods.measure(name, options)
    assert changed >= 36  # its matrix products with weights
    assert cosine < got <= 1 + 1e-9
    assert share < size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "share"),  # of rounding to nearest's distance; measured 0.81, 0.44, 0.68, 0.68
    [
        ({"symmetric": False}, 0.9),
        ({"algorithm": "gptq"}, 0.6),
        ({"algorithm": "awq"}, 0.8),
        ({"algorithm": "hqq"}, 0.8),
    ],
    ids=str,
)
def test_four_bits_that_know_more_are_closer(methods, options, share):
    plain = {"bits": 4, "embeddings": False, "algorithm": "rtn"}
    _, before, _ = methods.measure("onnx-weights", plain)
    _, after, _ = methods.measure("onnx-weights", plain | options)
    assert 1 - after < share * (1 - before)
