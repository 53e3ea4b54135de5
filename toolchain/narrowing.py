"""Dtypes that a runtime lacks: integers into narrower ones without losing any, and what is shown of 16-bit floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


def narrowed(value: np.ndarray, dtype: str, name: str, runtime: str) -> np.ndarray:
    """An array in a runtime's dtype, contiguous.

    Args:
        value: Of any numbers.
        dtype: numpy's name of the runtime's.
        name: Of the input, for the message.
        runtime: The same.

    Raises:
        UsageError: An integer is none in `dtype`: beyond 32 bits, or in a float32 beyond 2^24.
    """
    import numpy as np

    made = np.asarray(value, dtype, order="C")  # a scalar stays one
    if value.dtype.kind in "iu" and value.dtype.itemsize > 1 and (made != value).any():
        raise UsageError(
            f"The input '{name}' holds values beyond {dtype}, which is all that {runtime} takes",
            todo="Give smaller values",
        )
    return made


def shown(dtype: str) -> str:
    """The dtype that a caller sees: a float of 16 bits is a float32."""
    return "float32" if dtype in {"float16", "bfloat16"} else dtype
