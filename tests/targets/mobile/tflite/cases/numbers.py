"""Element by element."""

from __future__ import annotations

import numpy as np

from tests.targets.mobile.tflite.harness import Case, Given, bools, given, ints, weight

BOTH = ("int8", "int16")
X, Y = given(2, 3, 4), given(2, 3, 4, seed=3)
POSITIVE = given(2, 3, 4, low=0.1, high=4.0)
AWAY = given(2, 3, 4, low=0.5, high=2.0)
SPECIAL = Given(np.float32([[1.0, np.nan, np.inf], [-np.inf, 0.0, -1.0]]))
PAIRS = [
    (X, Y),
    (X, given(4, seed=3)),
    (given(3, 1), X),
    (X, given(seed=3)),
    (given(1, 3, 1, 2), given(2, 1, 4, 1)),
]

CASES = [
    *(Case(op, pair, integer=BOTH) for op in ("Add", "Sub", "Mul") for pair in PAIRS),
    *(Case(op, (X, weight(4)), integer=BOTH) for op in ("Add", "Sub", "Mul")),
    Case("Add", (weight(3, 1), X), integer=BOTH),
    Case("Add", (given(1, 2, 1, 3, 2), given(2, 1, 2, 3, 1)), integer=()),
    Case("Add", (ints(2, 3), ints(3, seed=2))),
    *(Case("Div", pair) for pair in ((X, AWAY), (X, np.float32(3.0)), (X, given(4, low=0.5, high=2.0)))),
    Case("Div", (ints(2, 3, high=50, low=-50, dtype=np.int32), np.array([7, -3, 2], np.int32))),
    *(Case(op, (X, Y, given(4, seed=5))) for op in ("Sum", "Mean")),
    *(Case(op, (X, Y, given(4, seed=5)), integer=BOTH) for op in ("Max", "Min")),
    Case("Sum", (X, Y), integer=BOTH),
    Case("Sum", (X,)),
    Case("Max", (X, np.float32(0.25)), integer=BOTH),
    *(Case("Pow", (X, np.float32(n))) for n in (1.0, 2.0, 3.0)),
    *(Case("Pow", (POSITIVE, other)) for other in (np.float32(0.5), np.float32(1.7), given(4, seed=2))),
    Case("Pow", (X, np.array(2, np.int64))),
    *(Case(op, (ints(2, 3), ints(3, seed=2))) for op in
      ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
    *(Case(op, (X, Y)) for op in ("Less", "Greater")),
    *(Case(op, (bools(2, 3), bools(3, seed=2))) for op in ("And", "Or", "Xor")),
    Case("Mod", (ints(2, 3, high=50, low=-50), np.array([7, -3, 5]))),
    Case("Where", (bools(2, 3, 1), X, Y)),
    Case("Where", (bools(4), X, np.float32(-1.0))),
    Case("PRelu", (given(2, 3, 4, 5), weight(3, 1, 1))),
    Case("PRelu", (X, weight(1))),
    *(Case(op, (X,)) for op in ("Abs", "Neg", "Exp", "Floor", "Ceil", "Sin", "Cos", "Sign", "Elu", "Softsign")),
    *(Case(op, (POSITIVE,)) for op in ("Log", "Sqrt", "Reciprocal")),
    Case("Round", (given(2, 3, low=-4.0, high=4.0),)),
    Case("Not", (bools(2, 3),)),
    *(Case("Abs", (ints(2, 3, low=-5, dtype=dtype),)) for dtype in (np.int32, np.int64)),
    *(Case(op, (given(3, 40, low=-6.0, high=6.0),), integer=BOTH) for op in ("Relu", "Sigmoid")),
    Case("Tanh", (given(3, 40, low=-6.0, high=6.0),), integer=BOTH, steps=2),
    Case("LeakyRelu", (given(3, 40),), {"alpha": 0.2}, integer=BOTH),
    Case("Clip", (given(3, 40, low=-9.0, high=9.0), np.float32(0), np.float32(6)), integer=BOTH),
    Case("Clip", (given(3, 40, low=-9.0, high=9.0), np.float32(-2), np.float32(3))),
    Case("Clip", (given(3, 40), None, np.float32(0.5))),
    Case("Clip", (given(3, 40), np.float32(-1), np.float32(1))),
    Case("Clip", (given(3, 40), given(low=-0.5, high=0.0), given(low=0.1, high=0.2))),
    Case("Clip", (ints(3, 4, low=-9, high=9), np.array(-2), np.array(3))),
    Case("Clip", (given(3, 4),), {"min": -0.5, "max": 0.5}, opset=6),
    Case("Gelu", (given(3, 40, low=-4.0, high=4.0),), integer=("int8",), tolerance=1e-5),
    Case("Gelu", (given(3, 40, low=-4.0, high=4.0),), {"approximate": "tanh"}, integer=("int8",), tolerance=1e-5),
    Case("HardSwish", (given(3, 40, low=-5.0, high=5.0),), integer=("int8",)),
    Case("HardSigmoid", (given(3, 40, low=-5.0, high=5.0),), {"alpha": 1 / 6, "beta": 0.5}),
    Case("Softplus", (given(3, 40, low=-30.0, high=30.0),)),
    Case("IsNaN", (SPECIAL,)),
    Case("IsInf", (SPECIAL,)),
    Case("IsInf", (SPECIAL,), {"detect_negative": 0}),
    Case("IsInf", (SPECIAL,), {"detect_positive": 0}),
    Case("Selu", (X,)),
    Case("Selu", (X,), {"alpha": 2.0, "gamma": 0.5}),
    Case("Celu", (X,), {"alpha": 0.7}),
    Case("ThresholdedRelu", (X,), {"alpha": 0.5}),
    Case("Mish", (given(3, 40, low=-30.0, high=30.0),)),
    Case("CastLike", (ints(2, 3), X)),
    Case("CastLike", (X, Y)),
    *(Case("Cast", (source,), {"to": to}) for source, to in
      ((ints(2, 3), 1), (X, 6), (X, 7), (bools(2, 3), 1), (ints(2, 3), 9), (ints(2, 3, dtype=np.int32), 7))),
    Case("Identity", (X,), integer=BOTH),
    Case("Dropout", (X,), integer=BOTH),
]  # fmt: skip
