"""BinLinear computes what integers say, bit for bit, with every kernel that this processor runs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgepack.runtime import kernels
from tests.runtime.kernels.layers import BinaryLayer

KERNELS = ("avx512", "amx", "avx2", "popcnt", "neon-dot", "neon", "portable")
# M, K, N: one of everything, sizes around a byte, a word, a vector, a panel and a tile, and real layers
SIZES = [
    (1, 1, 1),
    (3, 7, 2),
    (1, 8, 16),
    (9, 31, 15),
    (2, 33, 17),
    (8, 64, 32),
    (7, 65, 31),
    (13, 127, 33),
    (1, 250, 129),
    (5, 511, 48),
    (17, 992, 47),
    (12, 993, 64),
    (4, 2049, 19),
    (64, 768, 768),
    (1, 3072, 768),
    (130, 768, 300),
]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, library, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name not in kernels.available():
        pytest.skip(f"this processor does not run the kernel {name}")
    monkeypatch.setenv("EDGEPACK_KERNEL", name)
    return name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shift", [None, "zero", "one", "channels"])
def test_it_is_exact(kernel: str, shift: str | None, threads: int, opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{kernel} {shift}".encode()))
    for m, k, n in SIZES:
        layer = BinaryLayer.random(rng, n, k, shift)
        x = rng.standard_normal((m, k)).astype(np.float32)
        (y,) = opened(layer.model(), threads=threads).run(None, {"x": x})
        np.testing.assert_array_equal(y, layer.expected(x), err_msg=f"M, K, N = {m}, {k}, {n}")


def test_it_is_exact_at_random_sizes(kernel: str, opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(7)
    for _ in range(80):
        m, k, n = (int(rng.integers(1, limit)) for limit in (40, 400, 90))
        layer = BinaryLayer.random(rng, n, k)
        x = rng.standard_normal((m, k)).astype(np.float32)
        (y,) = opened(layer.model()).run(None, {"x": x})
        np.testing.assert_array_equal(y, layer.expected(x), err_msg=f"M, K, N = {m}, {k}, {n}")


# float32 values where a sign could be taken wrongly, and the sign of each
EDGES = [
    (0.0, 1),
    (-0.0, 1),
    (1e-45, 1),  # the smallest there is
    (-1e-45, -1),
    (np.inf, 1),
    (-np.inf, -1),
    (np.nan, 1),
    (-np.nan, 1),
]


@pytest.mark.parametrize("at", [0, 5, 15, 16, 40])
def test_the_sign_of_every_odd_value(kernel: str, at: int, opened: Callable[..., Any]) -> None:
    """Zero, minus zero and NaN are +1, wherever in a row they stand."""
    bits = np.zeros((1, 41), np.uint8)
    layer = BinaryLayer(bits, np.ones(1, np.float32), np.zeros(1, np.float32), None)
    session = opened(layer.model())
    for value, sign in EDGES:
        x = np.ones((1, 41), np.float32)
        x[0, at] = value
        (y,) = session.run(None, {"x": x})
        assert y[0, 0] == 40 + sign, value


def test_a_shift_decides_at_its_very_value(kernel: str, opened: Callable[..., Any]) -> None:
    """x = -shift is +1 and the next smaller float is -1, for shifts of every size and infinite ones."""
    rng = np.random.default_rng(3)
    shift = (rng.standard_normal(70) * 10.0 ** rng.integers(-44, 38, 70)).astype(np.float32)
    shift[:3] = np.inf, -np.inf, 0
    bits = np.eye(70, dtype=np.uint8)
    layer = BinaryLayer(bits, np.ones(70, np.float32), np.zeros(70, np.float32), shift)
    x = np.stack(
        [-shift, np.nextafter(-shift, np.float32(-np.inf)), np.nextafter(-shift, np.float32(np.inf))]
    )
    (y,) = opened(layer.model()).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer.expected(x))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (0, 5), (2, 3, 5), (2, 1, 3, 5), (2, 0, 5)])
def test_any_number_of_dimensions(shape: tuple[int, ...], opened: Callable[..., Any]) -> None:
    rng = np.random.default_rng(4)
    layer = BinaryLayer.random(rng, 6, 5)
    x = rng.standard_normal(shape).astype(np.float32)
    (y,) = opened(layer.model(rank=len(shape))).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer.expected(x))


def test_bits_beyond_k_count_nothing(kernel: str, opened: Callable[..., Any]) -> None:
    layer = BinaryLayer.random(np.random.default_rng(5), 20, 13)
    model = layer.model()
    (weights,) = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    packed = onnx.numpy_helper.to_array(weights).copy()
    packed[:, 1] |= 0b11100000
    weights.CopyFrom(onnx.numpy_helper.from_array(packed, "weights"))
    x = np.random.default_rng(6).standard_normal((3, 13)).astype(np.float32)
    (y,) = opened(model).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer.expected(x))


def test_scales_of_zero_and_of_no_number(opened: Callable[..., Any]) -> None:
    layer = BinaryLayer.random(np.random.default_rng(8), 4, 9)
    layer.alpha[:] = 0, np.nan, np.inf, -0.0
    x = np.random.default_rng(9).standard_normal((2, 9)).astype(np.float32)
    (y,) = opened(layer.model()).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer.expected(x))


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_that_overlap_do_not_disturb_one_another(
    kernel: str, threads: int, opened: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(10)
    layer = BinaryLayer.random(rng, 96, 768)
    session = opened(layer.model(), threads=threads)
    xs = [rng.standard_normal((m, 768)).astype(np.float32) for m in (1, 3, 64, 100) for _ in range(3)]
    expected = [layer.expected(x) for x in xs]

    def call(turn: int) -> bool:
        (y,) = session.run(None, {"x": xs[turn % len(xs)]})
        return np.array_equal(y, expected[turn % len(xs)])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(400)))


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 13, 7), (16, 64, 24), (3, 200, 33)])
@pytest.mark.parametrize("shift", ["zero", "one", "channels"])
def test_the_fallback_gives_the_same_bits(
    m: int, k: int, n: int, shift: str, opened: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(11)
    layer = BinaryLayer.random(rng, n, k, shift)
    model = layer.model(fallback=True)
    onnx.checker.check_model(model, full_check=True)
    x = rng.standard_normal((m, k)).astype(np.float32)
    x[0, 0] = -0.0
    native, portable = opened(model), opened(model, native=False)
    np.testing.assert_array_equal(native.run(None, {"x": x})[0], layer.expected(x))
    np.testing.assert_array_equal(portable.run(None, {"x": x})[0], layer.expected(x))
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer.expected(x))


def test_the_fallback_takes_odd_values_alike(opened: Callable[..., Any]) -> None:
    layer = BinaryLayer.random(np.random.default_rng(12), 3, len(EDGES), "zero")
    x = np.array([[value for value, _ in EDGES]], np.float32)
    for native in (True, False):
        (y,) = opened(layer.model(fallback=True), native=native).run(None, {"x": x})
        np.testing.assert_array_equal(y, layer.expected(x))
