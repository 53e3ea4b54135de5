"""The exactness tests' cases for the driver program: the same sizes, and the same integers to compare with."""

from __future__ import annotations

import numpy as np

from tests.runtime.kernels.chained import FORMS, Chained, fits, random_conv, random_linear
from tests.runtime.kernels.driving import Case
from tests.runtime.kernels.layers import BinaryLayer
from tests.runtime.kernels.test_bin_conv import CASES, ROWS, made
from tests.runtime.kernels.test_bin_linear import SIZES

# Whose bytes fall together with their groups
IN_GROUPS: list[tuple[tuple[int, int, int, int], int, tuple[int, int], dict[str, object]]] = [
    ((1, 64, 9, 7), 48, (3, 3), {"group": 2}),
    ((2, 48, 8, 8), 24, (3, 3), {"group": 3, "strides": (2, 1)}),
]


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
    for shape, n, size, rest in [*CASES, *ROWS]:
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


def chained_cases(seed: int, *, largest: int = 2**40) -> list[Case]:
    """The same sizes in every form whose activations are bits, where bytes fall together with groups."""
    rng = np.random.default_rng(seed)
    found = []
    for form in FORMS:
        layers: list[tuple[Chained, tuple[int, ...]]] = [
            (random_linear(rng, form, n, k), (m, k)) for m, k, n in SIZES if m * k * n <= largest
        ]
        for shape, n, size, rest in [*CASES, *ROWS, *IN_GROUPS]:
            group = rest.get("group", 1)
            assert isinstance(group, int)
            if np.prod(shape) * n * np.prod(size) <= largest and fits(form, n, shape[1], group):
                layers.append((random_conv(rng, form, n, shape[1] // group, size, rest), shape))
        for one, size_of_x in layers:
            x = one.x(rng, size_of_x)
            found.append(Case(one.model(), {"x": x}, one.expected(x)))
    return found


def _activations(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal ones, and among them the values whose sign could be taken wrongly."""
    x = rng.standard_normal(shape).astype(np.float32)
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, np.nan], np.float32)
    where = rng.random(shape) < 0.1
    x[where] = rng.choice(odd, int(where.sum()))
    return x
