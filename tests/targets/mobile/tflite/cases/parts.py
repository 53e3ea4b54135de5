"""Parts of tensors, tensors put together, and tensors under other dimensions."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from tests.targets.mobile.tflite.harness import Case, axes, bools, given, ints, weight

BOTH = ("int8", "int16")
X = given(2, 3, 4)
END = np.iinfo(np.int64).max
CASES = [
    Case("Concat", (X, given(2, 5, 4, seed=2)), {"axis": 1}, integer=BOTH),
    Case("Concat", (X, given(2, 3, 4, seed=2), given(2, 3, 1, seed=3)), {"axis": -1}, integer=BOTH),
    Case("Concat", (ints(2, 3), ints(4, 3)), {"axis": 0}),
    Case("Gather", (X, axes(2, 0, 1, -1)), {"axis": 1}, integer=BOTH),
    Case("Gather", (X, np.array(1)), {"axis": 2}, integer=BOTH),
    Case("Gather", (X, ints(2, 2, high=3)), {"axis": 1}, integer=BOTH),
    Case("Gather", (weight(10, 6), ints(2, 5, high=10)), {"axis": 0}, uses="EMBEDDING_LOOKUP"),
    Case("Gather", (weight(10, 6), ints(high=10)), {"axis": 0}),
    Case("GatherND", (X, ints(5, 2, high=2))),
    Case("ScatterElements", (X, np.array([[[0, 2, 1, 0]], [[2, 0, 2, 1]]]), given(2, 1, 4, seed=2)), {"axis": 1}),
    Case("ScatterElements", (X, ints(2, 1, 4, high=3), given(2, 1, 4, seed=2)), {"axis": -2}),
    Case("ScatterElements", (X, np.array([[[-1, 2]]]), given(1, 1, 2, seed=2)), {"axis": 2}),
    Case("ScatterElements", (ints(5), ints(1, high=5), ints(1, seed=2)), {"axis": 0}),
    Case("ScatterND", (X, np.array([[1, 2], [0, 1]]), given(2, 4, seed=2))),
    Case("ScatterND", (X, ints(1, 1, high=2), given(1, 3, 4, seed=2))),
    Case("Slice", (X, axes(1), axes(3), axes(1)), integer=BOTH, uses="SLICE"),
    Case("Slice", (X, axes(0, -3), axes(1, END), axes(0, 2)), integer=BOTH),
    Case("Slice", (X, axes(-1), axes(-END), axes(2), axes(-1)), integer=BOTH, uses="STRIDED_SLICE"),
    Case("Slice", (X, axes(0, 3), axes(4, 0), axes(1, 2), axes(2, -2)), integer=BOTH),
    Case("Slice", (X,), {"starts": [1], "ends": [2], "axes": [0]}, opset=9),
    Case("Split", (given(2, 6, 4),), {"axis": 1, "num_outputs": 3}, outputs=3, integer=BOTH),
    Case("Split", (given(2, 6, 4), axes(1, 3, 2)), {"axis": 1}, outputs=3, integer=BOTH),
    Case("Split", (given(6, 4),), {"axis": -1, "num_outputs": 2}, outputs=2, integer=BOTH),
    Case("Pad", (X, axes(0, 1, 2, 0, 0, 1)), integer=BOTH),
    Case("Pad", (X, axes(1, 2), np.float32(0.75), axes(1)), integer=()),
    Case("Pad", (X, axes(0, 2, 1, 0, 0, 3)), {"mode": "reflect"}, integer=BOTH),
    Case("Reshape", (X, axes(6, -1)), integer=BOTH),
    Case("Reshape", (X, axes(0, 2, 6)), integer=BOTH),
    Case("Reshape", (ints(2, 3), axes(3, 2))),
    Case("Flatten", (given(2, 3, 4, 5),), {"axis": 2}, integer=BOTH),
    Case("Squeeze", (given(2, 1, 4, 1), axes(1, -1)), integer=BOTH),
    Case("Unsqueeze", (X, axes(0, 2)), integer=BOTH),
    Case("Transpose", (X,), integer=BOTH),
    Case("Transpose", (given(1, 2, 3, 4, 5),), {"perm": [0, 4, 2, 1, 3]}, integer=BOTH),
    Case("Transpose", (bools(2, 3),)),
    Case("Expand", (given(3, 1), axes(2, 3, 4))),
    Case("Expand", (X, axes(1, 3, 1))),
    Case("Shape", (X,)),
    Case("Shape", (X,), {"start": 1, "end": -1}),
    Case("Size", (X,)),
    Case("ConstantOfShape", (axes(2, 3),)),
    Case("Constant", (), {"value_floats": [1.0, 2.5]}),
    Case("Constant", (), {"value_int": 3}),
    Case("Constant", (), {"value": numpy_helper.from_array(weight(2, 3))}),
    Case("Trilu", (given(2, 4, 5),)),
    Case("Trilu", (given(4, 5), np.array(-1)), {"upper": 0}),
    Case("Trilu", (ints(4, 4), np.array(2))),
    Case("Tile", (X, axes(1, 2, 3))),
    Case("DepthToSpace", (given(1, 8, 3, 2),), {"blocksize": 2}, integer=BOTH),
    Case("DepthToSpace", (given(2, 8, 3, 2),), {"blocksize": 2, "mode": "CRD"}, integer=BOTH),
    Case("SpaceToDepth", (given(1, 2, 4, 6),), {"blocksize": 2}, integer=BOTH),
    *(Case(op, (X,), {"axis": axis, "keepdims": keep}) for op in ("ArgMax", "ArgMin")
      for axis, keep in ((1, 0), (-1, 1))),
    Case("TopK", (given(3, 9), axes(4)), outputs=2),
    Case("CumSum", (X, np.array(1))),
    Case("CumSum", (X, np.array(-1)), {"exclusive": 1, "reverse": 1}),
    Case("Range", (np.array(1), np.array(9), np.array(3))),
    Case("OneHot", (ints(2, 3, high=4), np.array(4), np.float32([-1.0, 2.0]))),
    Case("OneHot", (ints(2, 3, high=4), np.array(4), np.float32([0.0, 1.0])), {"axis": 1}),
]  # fmt: skip
