"""The exactness tests' cases for the driver program: the same sizes, and the same integers to compare with."""

from __future__ import annotations

import numpy as np

from tests.runtime.kernels.driving import Case
from tests.runtime.kernels.layers import BinaryLayer
from tests.runtime.kernels.test_bin_conv import CASES, made
from tests.runtime.kernels.test_bin_linear import SIZES


def linear_cases(seed: int, *, largest: int = 2**40) -> list[Case]:
    """Every size with no shift, one for all and one a channel; then random sizes with odd activations."""
    rng = np.random.default_rng(seed)
    sizes: list[tuple[tuple[int, ...], str | None]]
    sizes = [(size, shift) for size in SIZES for shift in (None, "one", "channels")]
    sizes += [(tuple(map(int, rng.integers(1, (40, 400, 90)))), "channels") for _ in range(40)]
    found = []
    for (m, k, n), shift in sizes:
        if m * k * n <= largest:
            layer, x = BinaryLayer.random(rng, n, k, shift), _activations(rng, (m, k))
            found.append(Case(layer.model(), {"x": x}, layer.expected(x)))
    return found


def conv_cases(seed: int, *, largest: int = 2**40) -> list[Case]:
    """Every case of the exactness test, then random kernels, strides, dilations, paddings and groups."""
    rng = np.random.default_rng(seed)
    found = []
    for shape, n, size, rest in CASES:
        if np.prod(shape) * n * np.prod(size) <= largest:
            layer, x = made(rng, shape, n, size, rest)
            found.append(Case(layer.model(), {"x": x}, layer.expected(x)))
    for _ in range(30):
        group = int(rng.integers(1, 4))
        size = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        rest = {
            "group": group,
            "strides": tuple(map(int, rng.integers(1, 4, 2))),
            "dilations": tuple(map(int, rng.integers(1, 3, 2))),
            "pads": tuple(map(int, rng.integers(0, 4, 4))),
        }
        shape = (1, group * int(rng.integers(1, 70)), int(rng.integers(7, 20)), int(rng.integers(7, 20)))
        layer, x = made(rng, shape, group * int(rng.integers(1, 20)), size, rest)
        found.append(Case(layer.model(), {"x": x}, layer.expected(x)))
    return found


def _activations(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal ones, and among them the values whose sign could be taken wrongly."""
    x = rng.standard_normal(shape).astype(np.float32)
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, np.nan], np.float32)
    where = rng.random(shape) < 0.1
    x[where] = rng.choice(odd, int(where.sum()))
    return x
