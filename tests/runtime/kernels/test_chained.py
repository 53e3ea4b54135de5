"""Layers whose activations are bits compute what integers say, with every kernel and with their functions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgepack.runtime import kernels
from tests.runtime.kernels.chained import FORMS, Chained, fits, random_conv, random_linear
from tests.runtime.kernels.driven_cases import IN_GROUPS
from tests.runtime.kernels.test_bin_conv import CASES, ROWS
from tests.runtime.kernels.test_bin_linear import KERNELS, SIZES

MORE: list[Any] = [*IN_GROUPS, ((1, 40, 20, 21), 130, (3, 3), {})]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, library, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name not in kernels.available():
        pytest.skip(f"this processor does not run the kernel {name}")
    monkeypatch.setenv("EDGEPACK_KERNEL", name)
    return name


def convolutions(rng: np.random.Generator, form: str) -> list[tuple[Chained, np.ndarray]]:
    found = []
    for shape, n, size, rest in [*CASES, *ROWS, *MORE]:
        group = int(rest.get("group", 1))
        if fits(form, n, shape[1], group):
            one = random_conv(rng, form, n, shape[1] // group, size, rest)
            found.append((one, one.x(rng, shape)))
    return found


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_linear_is_exact(kernel: str, form: str, threads: int, opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(50)
    for m, k, n in SIZES:
        one = random_linear(rng, form, n, k)
        x = one.x(rng, (m, k))
        (y,) = opened(one.model(), threads=threads).run(None, {"x": x})
        np.testing.assert_array_equal(y, one.expected(x), err_msg=f"M, K, N = {m}, {k}, {n}")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_conv_is_exact(kernel: str, form: str, threads: int, opened: Callable[..., Any]) -> None:
    for one, x in convolutions(np.random.default_rng(51), form):
        (y,) = opened(one.model(), threads=threads).run(None, {"x": x})
        np.testing.assert_array_equal(y, one.expected(x), err_msg=f"{x.shape} {one.attributes()}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_any_number_of_dimensions(form: str, shape: tuple[int, ...], opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(52)
    one = random_linear(rng, form, 11, 5)
    x = one.x(rng, shape)
    (y,) = opened(one.model(rank=len(shape))).run(None, {"x": x})
    np.testing.assert_array_equal(y, one.expected(x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 13), (2, 3, 64), (0, 20), (3, 200)])
def test_the_linear_function_gives_the_same_bits(
    form: str, shape: tuple[int, ...], opened: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(53)
    one = random_linear(rng, form, 21, shape[-1])
    _check_function(one, one.x(rng, shape), opened)


@pytest.mark.parametrize("form", FORMS)
def test_the_conv_function_gives_the_same_bits(form: str, opened: Callable[..., Any]) -> None:
    cases = [(one, x) for one, x in convolutions(np.random.default_rng(54), form) if x.size < 1000]
    assert len(cases) > 3
    for one, x in cases:
        one.layer.alpha[:] = 2.0  # no order of roundings can tell these apart
        one.layer.bias[:] = 1.0
        _check_function(one, x, opened, reference=x.size > 0)


def _check_function(
    one: Chained, x: np.ndarray, opened: Callable[..., Any], *, reference: bool = True
) -> None:
    model = one.model(fallback=True, rank=x.ndim)
    onnx.checker.check_model(model, full_check=True)
    for native in (True, False):
        (y,) = opened(model, native=native).run(None, {"x": x})
        np.testing.assert_array_equal(y, one.expected(x), err_msg=f"native: {native}")
    if reference:
        (y,) = ReferenceEvaluator(model).run(None, {"x": x})
        np.testing.assert_array_equal(y, one.expected(x), err_msg="onnx.reference")


def test_calls_that_overlap_do_not_disturb_one_another(kernel: str, opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(55)
    layers = [random_linear(rng, "Bits", 300, 520), random_conv(rng, "Bits", 40, 33, (3, 3), {})]
    sizes: list[list[tuple[int, ...]]] = [[(1, 520), (70, 520)], [(1, 33, 9, 9), (2, 33, 30, 31)]]
    for one, shapes in zip(layers, sizes, strict=True):
        session = opened(one.model(), threads=2)
        xs = [one.x(rng, shape) for shape in shapes]
        expected = [one.expected(x) for x in xs]

        def call(turn: int, session=session, xs=xs, expected=expected) -> bool:
            (y,) = session.run(None, {"x": xs[turn % 2]})
            return np.array_equal(y, expected[turn % 2])

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(call, range(100)))
