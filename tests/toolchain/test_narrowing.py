"""Integers into a runtime's narrower dtypes."""

import numpy as np
import pytest

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.narrowing import narrowed, shown


@pytest.mark.parametrize(
    ("value", "dtype"), [(2**31 - 1, "int32"), (-(2**31), "int32"), (2**24, "float32"), (-5, "float32")]
)
def test_what_fits_stays(value: int, dtype: str) -> None:
    made = narrowed(np.array([value, 0]).T, dtype, "x", "it")
    assert made.dtype == dtype
    assert made.tolist() == [value, 0]
    assert made.flags.c_contiguous


@pytest.mark.parametrize(("value", "dtype"), [(2**31, "int32"), (2**24 + 1, "float32")])
def test_what_does_not_is_refused(value: int, dtype: str) -> None:
    with pytest.raises(UsageError, match=f"'x' holds values beyond {dtype}, which is all that it takes"):
        narrowed(np.array([value]), dtype, "x", "it")


def test_floats_and_logical_values_are_converted() -> None:
    assert narrowed(np.array([0.1], np.float64), "float32", "x", "it").tolist() == [np.float32(0.1)]
    assert narrowed(np.array([True]), "int32", "x", "it").tolist() == [1]
    assert [shown(name) for name in ("float16", "bfloat16", "int8")] == ["float32", "float32", "int8"]
