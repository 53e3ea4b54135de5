"""A layer in bits that cannot be right is refused in words, and so are activations that do not fit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.runtime.kernels.chained import FORMS, Chained, random_conv, random_linear

N, K = 16, 20
WRITE = [form for form, (_, bits_out) in FORMS.items() if bits_out]
READ = [form for form, (bits_in, _) in FORMS.items() if bits_in]


def linear(form: str) -> Chained:
    return random_linear(np.random.default_rng(0), form, N, K)


def conv(form: str, n: int, k: int, group: int) -> Chained:
    return random_conv(np.random.default_rng(0), form, n, k, (3, 3), {"group": group})


@pytest.mark.parametrize("name", ["low", "high"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.zeros(N - 1, np.int32), r"has the shape \[15\] instead of \[16\]"),
        (np.zeros((N, 1), np.int32), r"has the shape \[16, 1\] instead of \[16\]"),
        (np.zeros((), np.int32), r"has the shape \[\] instead of \[16\]"),
    ],
)
@pytest.mark.parametrize("form", WRITE)
def test_limits_that_do_not_fit(
    form: str, name: str, value: np.ndarray, says: str, opened: Callable[..., Any]
) -> None:
    with pytest.raises(Exception, match=f"edgepack::BinLinear{form} 'layer': {name} {says}"):
        opened(replace(linear(form), **{name: value}).model())  # type: ignore[arg-type]


@pytest.mark.parametrize("form", WRITE)
def test_limits_of_another_type(form: str, opened: Callable[..., Any]) -> None:
    one = replace(linear(form), low=np.zeros(N, np.int64))
    with pytest.raises(Exception, match=r"Type.*int64.*layer"):
        opened(one.model())


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("shape", [(), (2, 2), (3, 4), (3, K), (2, 0)])
def test_rows_of_another_width(form: str, shape: tuple[int, ...], opened: Callable[..., Any]) -> None:
    session = opened(linear(form).model(rank=len(shape)))
    says = rf"edgepack::BinLinear{form}: x has the shape .*its last dimension must be ceil\(K / 8\) = 3"
    with pytest.raises(Exception, match=says):
        session.run(None, {"x": np.zeros(shape, np.uint8)})


@pytest.mark.parametrize("form", READ)
def test_images_of_another_depth(form: str, opened: Callable[..., Any]) -> None:
    session = opened(conv(form, N, K, 1).model())
    with pytest.raises(Exception, match=rf"edgepack::BinConv{form}: .* must be \[batch, 3, height, width\]"):
        session.run(None, {"x": np.zeros((1, K, 9, 9), np.uint8)})


@pytest.mark.parametrize("form", READ)
def test_groups_that_no_byte_begins(form: str, opened: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="K must be a multiple of 8 where bits come in groups"):
        opened(conv(form, N, K, 2).model())


@pytest.mark.parametrize("form", WRITE)
def test_groups_that_no_byte_ends(form: str, opened: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="the output channels of a group must be a multiple of 8"):
        opened(conv(form, 20, 16, 2).model())
