"""Products of matrices."""

from __future__ import annotations

import numpy as np

from tests.targets.mobile.tflite.harness import Case, given, weight

BOTH = ("int8", "int16")
CASES = [
    Case("MatMul", (given(5, 7), weight(7, 4)), integer=BOTH, uses="FULLY_CONNECTED"),
    Case("MatMul", (given(2, 5, 7), weight(7, 4)), integer=BOTH, uses="FULLY_CONNECTED"),
    Case("MatMul", (given(1, 2, 5, 7), weight(7, 4)), integer=BOTH, uses="FULLY_CONNECTED"),
    Case("MatMul", (given(7), weight(7, 4)), integer=BOTH),
    Case("MatMul", (given(2, 5, 7), given(2, 7, 4, seed=2)), integer=BOTH, uses="BATCH_MATMUL"),
    Case("MatMul", (given(1, 3, 5, 7), given(1, 3, 7, 4, seed=2)), integer=BOTH, uses="BATCH_MATMUL"),
    Case("MatMul", (given(2, 5, 7), given(7, 4, seed=2)), integer=BOTH),
    Case("MatMul", (given(5, 7), given(7, seed=2))),
    Case("MatMul", (given(7), given(7, 3, seed=2))),
    Case("MatMul", (given(2, 5, 7), weight(2, 7, 4))),
    Case("Gemm", (given(5, 7), weight(7, 4), weight(4, seed=3)), integer=BOTH, uses="FULLY_CONNECTED"),
    Case(
        "Gemm",
        (given(5, 7), weight(4, 7), weight(4, seed=3)),
        {"transB": 1},
        integer=BOTH,
        uses="FULLY_CONNECTED",
    ),
    Case("Gemm", (given(5, 7), weight(4, 7)), {"transB": 1}, integer=BOTH, uses="FULLY_CONNECTED"),
    Case("Gemm", (given(7, 5), weight(7, 4), weight(1, 4, seed=3)), {"transA": 1}),
    Case("Gemm", (given(5, 7), weight(7, 4), np.float32([0.5]))),
    Case("Gemm", (given(5, 7), weight(7, 4), weight(5, 1, seed=3))),
    Case("Gemm", (given(5, 7), given(7, 4, seed=2), given(5, 4, seed=3)), {"alpha": 0.5, "beta": 2.0}),
    Case("Gemm", (given(5, 7), given(4, 7, seed=2)), {"transB": 1, "alpha": 3.0}),
    *(
        Case("Einsum", (given(*left), given(*right, seed=2)), {"equation": equation})
        for equation, left, right in (
            ("ij,jk->ik", (3, 4), (4, 5)),
            ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
            ("bij,bjhd->bhid", (2, 3, 4), (2, 4, 2, 5)),
            ("bi,j->ijb", (2, 3), (4,)),
            ("abc,bd", (2, 3, 4), (3, 5)),
            ("ija,jk->ik", (3, 4, 2), (4, 5)),
        )
    ),
    Case("Einsum", (given(2, 3, 4),), {"equation": "ijk->ki"}),
]
