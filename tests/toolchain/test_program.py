"""Dimensions: numbers, names, and sums of them."""

import pytest

from edgepack.toolchain.program import is_sum, size_of, terms

SIZES = {"past": 5, "step": 2, "n - 1": 7}


@pytest.mark.parametrize(
    ("dim", "names", "size"),
    [
        (4, (), 4),
        ("past", ("past",), 5),
        ("past+step", ("past", "step"), 7),
        ("past + step", ("past", "step"), 7),
        ("past + 1", ("past",), 6),
        ("1+past+2", ("past",), 8),
        ("n - 1", ("n - 1",), 7),
    ],
)
def test_a_dimension_is_a_number_a_name_or_a_sum(dim, names, size):
    assert terms(dim) == names
    assert size_of(dim, SIZES) == size
    assert is_sum(dim) == (isinstance(dim, str) and "+" in dim)


@pytest.mark.parametrize("dim", ["floor(h/2 + 1)", "2*n + 1", "a+", "1+2"])
def test_other_formulas_are_names(dim):
    assert terms(dim) == (dim,)
    assert not is_sum(dim)
    with pytest.raises(KeyError):
        size_of(dim, SIZES)
    assert size_of(dim, {dim: 3}) == 3
