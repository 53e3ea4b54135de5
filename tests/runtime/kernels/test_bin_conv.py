"""BinConv computes what integers say, bit for bit, with every kernel that this processor runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgepack.runtime import kernels
from tests.runtime.kernels.convolutions import BinaryConvolution, random_convolution

# input [batch, channels, height, width], output channels, kernel, the rest
CASES: list[tuple[tuple[int, int, int, int], int, tuple[int, int], dict[str, object]]] = [
    ((1, 1, 1, 1), 1, (1, 1), {"pads": (0, 0, 0, 0)}),
    ((2, 3, 5, 6), 4, (3, 3), {}),
    ((1, 64, 56, 56), 64, (3, 3), {}),
    ((1, 33, 7, 7), 9, (3, 3), {}),
    ((1, 40, 14, 14), 17, (3, 3), {"strides": (2, 2)}),
    ((2, 8, 9, 10), 8, (3, 3), {"strides": (3, 2), "pads": (0, 1, 2, 3)}),
    ((1, 31, 12, 11), 3, (5, 4), {"pads": (2, 2, 2, 1)}),
    ((1, 32, 10, 12), 12, (3, 3), {"dilations": (2, 3), "pads": (2, 3, 2, 3)}),
    ((1, 16, 13, 9), 8, (3, 2), {"dilations": (3, 2), "strides": (2, 3), "pads": (3, 0, 1, 2)}),
    ((2, 24, 8, 8), 12, (3, 3), {"group": 4}),
    ((1, 10, 8, 9), 10, (3, 3), {"group": 10}),
    ((1, 80, 5, 5), 18, (1, 1), {"group": 2, "pads": (0, 0, 0, 0)}),
    ((1, 7, 3, 3), 5, (7, 7), {"pads": (3, 3, 3, 3)}),
    ((1, 9, 4, 4), 2, (3, 3), {"strides": (30, 30)}),
    ((1, 5, 2, 2), 3, (2, 2), {"pads": (6, 5, 4, 3)}),  # some pixels see padding alone
    (
        (1, 70, 12, 10),
        9,
        (11, 9),
        {"pads": (0, 0, 0, 0)},
    ),  # more taps than are kept at a time, in few classes
    ((1, 70, 6, 6), 9, (11, 9), {"pads": (5, 4, 5, 4)}),  # and in many
    ((1, 32, 5, 6), 70, (3, 3), {}),  # more panels than share them
    ((0, 5, 4, 4), 3, (3, 3), {}),
    ((2, 40, 7, 7), 37, (3, 3), {}),  # one pixel more than the vectors hold
    ((1, 70, 6, 4), 33, (9, 11), {"pads": (4, 5, 4, 5)}),  # a few more, of more taps than are kept
]
# Rows that end within a vector once or often, near to the next row or far from it.
ROWS: list[tuple[tuple[int, int, int, int], int, tuple[int, int], dict[str, object]]] = [
    ((1, 9, 6, width), 9, (3, size), {"pads": (1, size // 2, 1, size // 2)})
    for width in range(1, 19)
    for size in (1, 3, 9, 19)
]


@pytest.fixture(params=("avx512", "amx", "avx2", "popcnt", "neon-dot", "neon", "portable"))
def kernel(request: pytest.FixtureRequest, library, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name not in kernels.available():
        pytest.skip(f"this processor does not run the kernel {name}")
    monkeypatch.setenv("EDGEPACK_KERNEL", name)
    return name


def made(
    rng: np.random.Generator,
    shape: tuple[int, int, int, int],
    n: int,
    size: tuple[int, int],
    rest: dict[str, object],
) -> tuple[BinaryConvolution, np.ndarray]:
    group = rest.get("group", 1)
    assert isinstance(group, int)
    layer = random_convolution(rng, n, shape[1] // group, size, **rest)
    x = rng.standard_normal(shape).astype(np.float32)
    x[rng.random(shape) < 0.1] = -0.0
    return layer, x


@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_exact(kernel: str, threads: int, opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    for shape, n, size, rest in [*CASES, *ROWS]:
        layer, x = made(rng, shape, n, size, rest)
        (y,) = opened(layer.model(), threads=threads).run(None, {"x": x})
        np.testing.assert_array_equal(y, layer.expected(x), err_msg=f"{shape} {n} {size} {rest}")


def test_it_is_exact_at_random_sizes(kernel: str, opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        group = int(rng.integers(1, 4))
        size = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        rest: dict[str, object] = {
            "group": group,
            "strides": tuple(map(int, rng.integers(1, 4, 2))),
            "dilations": tuple(map(int, rng.integers(1, 3, 2))),
            "pads": tuple(map(int, rng.integers(0, 4, 4))),
        }
        shape = (1, group * int(rng.integers(1, 70)), int(rng.integers(7, 20)), int(rng.integers(7, 20)))
        layer, x = made(rng, shape, group * int(rng.integers(1, 20)), size, rest)
        (y,) = opened(layer.model()).run(None, {"x": x})
        np.testing.assert_array_equal(y, layer.expected(x), err_msg=f"{shape} {size} {rest}")


@pytest.mark.parametrize("shift", [False, True])
def test_the_sign_of_every_odd_value(kernel: str, shift: bool, opened: Callable[..., Any]) -> None:
    """Zero, minus zero and NaN are +1, wherever in an image they stand; with shifts too, infinite ones among them."""
    rng = np.random.default_rng(12)
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, np.nan, -np.nan], np.float32)
    layer = random_convolution(rng, 9, 70)
    values = np.resize(np.append(odd, np.float32(0.5)), 70)
    layer = replace(layer, shift=np.where(np.isnan(values), 1, values).astype(np.float32) if shift else None)
    x = rng.standard_normal((2, 70, 7, 19)).astype(np.float32)
    x[rng.random(x.shape) < 0.4] = 0
    where = rng.random(x.shape) < 0.5
    x[where] = rng.choice(odd, int(where.sum()))
    (y,) = opened(layer.model()).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer.expected(x))


def test_images_of_many_sizes_in_one_session(kernel: str, opened: Callable[..., Any]) -> None:
    """Whatever was prepared for one size does not serve another, in calls that overlap."""
    rng = np.random.default_rng(2)
    layer = random_convolution(rng, 10, 36, strides=(2, 1))
    session = opened(layer.model(), threads=2)
    xs = [
        rng.standard_normal((b, 36, h, w)).astype(np.float32)
        for b, h, w in ((1, 4, 9), (2, 9, 4), (1, 30, 31))
    ]
    expected = [layer.expected(x) for x in xs]

    def call(turn: int) -> bool:
        (y,) = session.run(None, {"x": xs[turn % 3]})
        return np.array_equal(y, expected[turn % 3])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))


@pytest.mark.parametrize("case", [case for case in CASES if case[0][0] and case[0][2] < 50])
def test_the_fallback_agrees(case: Any, opened: Callable[..., Any]) -> None:
    """The same bits where the scale is a power of two, which no order of roundings can tell apart."""
    layer, x = made(np.random.default_rng(3), *case)
    layer.alpha[:] = np.sign(layer.alpha) * 2.0 ** np.round(layer.alpha)
    layer.bias[:] = np.round(layer.bias)
    model = layer.model(fallback=True)
    onnx.checker.check_model(model, full_check=True)
    for session in (opened(model), opened(model, native=False)):
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], layer.expected(x))


def test_the_reference_evaluator_agrees() -> None:
    layer, x = made(np.random.default_rng(4), (2, 6, 5, 6), 4, (3, 3), {"group": 2, "strides": (2, 1)})
    (y,) = ReferenceEvaluator(layer.model(fallback=True)).run(None, {"x": x})
    np.testing.assert_allclose(y, layer.expected(x), rtol=1e-6)


GOOD = random_convolution(np.random.default_rng(5), 6, 10)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"K": 0}, "the attribute K must be an integer from 1"),
        ({"K": 17}, r"weights has the shape \[6, 3, 3, 2\] instead of \[6, 3, 3, 3\]"),
        ({"K": None}, "the attribute K must be an integer"),
        ({"group": 0}, "the attribute group must be an integer from 1 to 6"),
        ({"group": 4}, "6 output channels are no multiple of the attribute group, 4"),
        ({"strides": (0, 1)}, "the attribute strides must be 2 integers from 1"),
        ({"strides": (1,)}, "the attribute strides must be 2 integers"),
        ({"strides": (1.0, 1.0)}, "the attribute strides must be 2 integers"),
        ({"strides": None}, "the attribute strides must be 2 integers"),
        ({"dilations": (1, -1)}, "the attribute dilations must be 2 integers"),
        ({"dilations": (2**62, 2**62)}, "the attribute dilations must be 2 integers"),
        ({"pads": (0, 0, 0, -1)}, "the attribute pads must be 4 integers from 0"),
        ({"pads": (0, 0)}, "the attribute pads must be 4 integers"),
    ],
)
def test_attributes_that_cannot_be(changes: dict[str, object], says: str, opened: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match=f"edgepack::BinConv 'layer': .*{says}"):
        opened(BinaryConvolution(GOOD.bits, GOOD.alpha, GOOD.bias, GOOD.shift, changes=changes).model())


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("weights", (6, 3, 3), r"weights has the shape \[6, 3, 3\] instead of \[N, kernel height"),
        ("weights", (0, 3, 3, 2), r"weights has the shape \[0, 3, 3, 2\]"),
        ("weights", (6, 3, 0, 2), r"weights has the shape \[6, 3, 0, 2\]"),
        ("alpha", (5,), r"alpha has the shape \[5\] instead of \[6\]"),
        ("bias", (6, 1), r"bias has the shape \[6, 1\] instead of \[6\]"),
        ("shift", (9,), r"shift has the shape \[9\] instead of \[10\]"),
    ],
)
def test_constants_that_do_not_fit(
    name: str, shape: tuple[int, ...], says: str, opened: Callable[..., Any]
) -> None:
    dtype = np.uint8 if name == "weights" else np.float32
    with pytest.raises(Exception, match=says):
        opened(GOOD.model(**{name: np.zeros(shape, dtype)}))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 9, 5, 5), r"must be \[batch, 10, height, width\]"),
        ((1, 10, 5), r"must be \[batch, 10, height, width\]"),
        ((1, 10, 0, 5), "smaller than the kernel"),
        ((1, 10, 5, 0), "smaller than the kernel"),
    ],
)
def test_images_that_do_not_fit(shape: tuple[int, ...], says: str, opened: Callable[..., Any]) -> None:
    model = GOOD.model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(Exception, match=says):
        opened(model).run(None, {"x": np.zeros(shape, np.float32)})


def test_an_image_smaller_than_the_kernel(opened: Callable[..., Any]) -> None:
    layer = random_convolution(np.random.default_rng(6), 2, 3, (5, 5), pads=(0, 0, 0, 0))
    with pytest.raises(Exception, match="smaller than the kernel"):
        opened(layer.model()).run(None, {"x": np.zeros((1, 3, 4, 9), np.float32)})
