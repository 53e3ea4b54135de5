import numpy as np
import pytest

from edgepack.toolchain.finite import sound


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], True),
        ([0.0, -np.inf], True),
        ([], True),
        ([-np.inf, -np.inf], False),
        ([0.0, np.inf], False),
        ([0.0, np.nan], False),
    ],
)
def test_minus_infinity_excludes_and_nothing_else_may_be_infinite(values, expected):
    assert sound(np.array(values, np.float32)) is expected
