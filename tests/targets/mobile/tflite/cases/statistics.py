"""Sums and means along axes, and what is made of them."""

from __future__ import annotations

import numpy as np

from tests.targets.mobile.tflite.harness import Case, axes, given, ints, weight

BOTH = ("int8", "int16")
X = given(2, 3, 4)
IMAGE = given(2, 4, 5, 6)
CASES = [
    *(Case(op, (X, axes(*which)), {"keepdims": keep}) for op in
      ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceL1", "ReduceSumSquare",
       "ReduceLogSumExp")
      for which, keep in (((1,), 1), ((0, -1), 0))),
    Case("ReduceLogSum", (given(2, 3, low=0.1, high=2.0), axes(1))),
    Case("ReduceSum", (X,)),
    Case("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
    Case("ReduceSum", (ints(2, 3), axes(1))),
    Case("ReduceMean", (X, axes(1)), {"keepdims": 1}, integer=BOTH),
    Case("ReduceMean", (X, axes(0, 2)), {"keepdims": 0}, integer=BOTH),
    Case("ReduceMean", (X,), {"axes": [2], "keepdims": 0}, opset=13, integer=BOTH),
    Case("GlobalAveragePool", (IMAGE,), integer=BOTH),
    Case("GlobalMaxPool", (IMAGE,)),
    *(Case("Softmax", (given(2, 5, 6, low=-4.0, high=4.0),), {"axis": axis}, integer=BOTH, steps=2)
      for axis in (-1, 1, 0)),
    Case("Softmax", (given(2, 5, 6),), {"axis": 1}, opset=9),
    Case("LogSoftmax", (given(4, 9, low=-4.0, high=4.0),), integer=("int8",)),
    Case("LogSoftmax", (given(4, 9),), {"axis": 0}),
    Case("Sigmoid", (given(4, 9, low=-9.0, high=-3.0),), quantized=True),
    Case("Tanh", (given(4, 9, low=-0.2, high=0.2),), quantized=True),
    Case("LayerNormalization", (X, weight(4), weight(4, seed=3)), tolerance=1e-5),
    Case("LayerNormalization", (X, weight(3, 4)), {"axis": 1, "epsilon": 1e-3}, tolerance=1e-5),
    Case("RMSNormalization", (X, weight(4)), opset=23, tolerance=1e-5),
    Case("InstanceNormalization", (IMAGE, weight(4), weight(4, seed=3)), tolerance=1e-5),
    Case("GroupNormalization", (IMAGE, weight(4), weight(4, seed=3)), {"num_groups": 2}, tolerance=1e-5),
    Case("BatchNormalization", (IMAGE, *(weight(4, seed=n) for n in (1, 3, 4)), np.abs(weight(4, seed=5))),
         integer=BOTH, uses="MUL"),
    Case("BatchNormalization", (IMAGE, np.float32([1, 0, 1e-12, -2]), *(weight(4, seed=n) for n in (3, 4)),
                                np.float32([1, 1, 2, 2])), integer=BOTH),
    Case("BatchNormalization", (X, weight(3), weight(3, seed=3), weight(3, seed=4), np.float32([1, 2, 3])),
         tolerance=1e-5),
    Case("Softmax", (given(2, 1200),), {"axis": -1}, quantized=True),
    Case("MeanVarianceNormalization", (IMAGE,), {"axes": [0, 2, 3]}, opset=13, tolerance=1e-5),
    Case("MeanVarianceNormalization", (X,), {"axes": [1]}, opset=13, tolerance=1e-5),
    Case("LpNormalization", (X,), {"axis": 1, "p": 2}),
    Case("LRN", (given(1, 8, 3, 4),), {"size": 5, "alpha": 0.1, "beta": 0.75, "bias": 2.0}, tolerance=1e-5),
    Case("Swish", (X,), {"alpha": 1.5}, opset=24),
]  # fmt: skip
