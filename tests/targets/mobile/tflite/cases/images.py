"""Convolutions and pools."""

from __future__ import annotations

import numpy as np

from tests.targets.mobile.tflite.harness import Case, given, weight

BOTH = ("int8", "int16")
X = given(1, 4, 9, 8)
W, B = weight(6, 4, 3, 3), weight(6, seed=3)
SIZE = np.array([1, 2, 6, 10], np.int64)
RULES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")


def resize(mode, shape=(1, 2, 3, 5), sizes=SIZE, **attributes):
    return Case(
        "Resize",
        (given(*shape), None, None, sizes),
        {"mode": mode, **attributes},
        integer=BOTH if mode == "nearest" else ("int8",),
    )


CASES = [
    *(resize("linear", coordinate_transformation_mode=rule) for rule in RULES),
    *(resize("linear", sizes=np.array([1, 2, 2, 4], np.int64), coordinate_transformation_mode=rule)
      for rule in RULES),
    *(resize("nearest", sizes=np.array([1, 2, 4, 7], np.int64), coordinate_transformation_mode=rule,
             nearest_mode=mode) for rule in RULES for mode in ("round_prefer_floor", "floor", "ceil")),
    resize("nearest"),
    resize("nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    resize("nearest", shape=(2, 3, 4), sizes=np.array([2, 6, 4], np.int64)),
    Case("Resize", (given(1, 2, 3, 5), None, np.float32([1, 1, 2.0, 1.5])), {"mode": "nearest"}, integer=BOTH),
    Case("Resize", (given(1, 2, 3, 4), None, np.float32([1, 1, 2.0, 2.0])), {"mode": "linear"}, integer=("int8",)),
    Case("Upsample", (given(1, 2, 3, 5), np.float32([1, 1, 2.0, 2.0])), {"mode": "nearest"}, opset=9),
    Case("Conv", (X, W, B), {"pads": [1, 1, 1, 1]}, integer=BOTH, uses="CONV_2D"),
    Case("Conv", (X, W), integer=BOTH, uses="CONV_2D"),
    Case("Conv", (given(2, 4, 9, 8), W, B), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, integer=BOTH),
    Case("Conv", (X, W, B), {"pads": [0, 1, 2, 3], "strides": [2, 1]}, integer=BOTH),
    Case("Conv", (X, W, B), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, integer=BOTH),
    Case("Conv", (X, W, B), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, integer=BOTH),
    Case("Conv", (X, W, B), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, integer=BOTH),
    Case("Conv", (X, weight(6, 4, 1, 1), B), integer=BOTH, uses="CONV_2D"),
    Case("Conv", (X, weight(6, 2, 3, 3), B), {"group": 2}, integer=BOTH, uses="CONV_2D"),
    Case("Conv", (X, weight(4, 1, 3, 3), weight(4, seed=3)), {"group": 4, "pads": [1, 1, 1, 1]}, integer=BOTH,
         uses="DEPTHWISE_CONV_2D"),
    Case("Conv", (X, weight(8, 1, 5, 3)), {"group": 4, "strides": [2, 2]}, integer=BOTH, uses="DEPTHWISE_CONV_2D"),
    Case("Conv", (given(2, 4, 20), weight(6, 4, 5), B), {"pads": [2, 2], "strides": [2]}, integer=BOTH),
    Case("Conv", (given(2, 4, 20), weight(4, 1, 3)), {"group": 4, "pads": [2, 0]}, integer=BOTH),
    Case("ConvTranspose", (given(1, 4, 5, 6), weight(4, 3, 3, 3), weight(3)), {"strides": [2, 2]}, integer=BOTH),
    Case("ConvTranspose", (given(1, 4, 5, 6), weight(4, 3, 4, 4), weight(3)), {"strides": [2, 2], "pads": [1, 1, 1, 1]},
         integer=BOTH),
    Case("ConvTranspose", (given(1, 4, 5, 6), weight(4, 3, 3, 2)), {"pads": [1, 0, 0, 1]}, integer=BOTH),
    Case("ConvTranspose", (given(1, 4, 7), weight(4, 3, 4), weight(3)), {"strides": [2], "pads": [1, 1]},
         integer=BOTH),
    Case("MaxPool", (X,), {"kernel_shape": [2, 2], "strides": [2, 2]}, integer=BOTH),
    Case("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, integer=BOTH),
    Case("MaxPool", (X,), {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}, integer=BOTH),
    Case("MaxPool", (given(2, 4, 9),), {"kernel_shape": [3], "strides": [2]}, integer=BOTH),
    Case("AveragePool", (X,), {"kernel_shape": [2, 2], "strides": [2, 2]}, integer=BOTH),
    Case("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, integer=BOTH),
    Case("AveragePool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    Case("AveragePool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("AveragePool", (X,), {"kernel_shape": [9, 8]}, integer=BOTH),
    Case("AveragePool", (given(2, 4, 9),), {"kernel_shape": [3], "strides": [2]}, integer=BOTH),
]  # fmt: skip
