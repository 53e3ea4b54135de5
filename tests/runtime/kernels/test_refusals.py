"""A file whose binary layer cannot be right is refused in words; nothing that a file says crashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.runtime.kernels.layers import BinaryLayer, model_of

N, K = 6, 20
BYTES = 3


def good() -> dict[str, np.ndarray]:
    return BinaryLayer.random(np.random.default_rng(0), N, K).inputs()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "weights",
            np.zeros((N, BYTES - 1), np.uint8),
            r"weights has the shape \[6, 2\] instead of \[6, 3\]",
        ),
        (
            "weights",
            np.zeros((N, BYTES + 1), np.uint8),
            r"weights has the shape \[6, 4\] instead of \[6, 3\]",
        ),
        ("weights", np.zeros(N * BYTES, np.uint8), r"weights has the shape \[18\] instead of \[N, ceil"),
        ("weights", np.zeros((0, BYTES), np.uint8), r"weights has the shape \[0, 3\]"),
        ("weights", np.zeros((N, BYTES, 1), np.uint8), r"weights has the shape \[6, 3, 1\]"),
        ("alpha", np.zeros(N - 1, np.float32), r"alpha has the shape \[5\] instead of \[6\]"),
        ("alpha", np.zeros((), np.float32), r"alpha has the shape \[\] instead of \[6\]"),
        ("bias", np.zeros((1, N), np.float32), r"bias has the shape \[1, 6\] instead of \[6\]"),
        ("shift", np.zeros(K + 1, np.float32), r"shift has the shape \[21\] instead of \[20\]"),
        ("shift", np.full(K, np.nan, np.float32), "shift holds a NaN"),
    ],
)
def test_constants_that_do_not_fit(
    name: str, value: np.ndarray, says: str, opened: Callable[..., Any]
) -> None:
    with pytest.raises(Exception, match=f"edgepack::BinLinear 'layer': .*{says}"):
        opened(model_of({**good(), name: value}, K))


@pytest.mark.parametrize("k", [None, 0, -1, -(2**63), 2**24 + 1, 2**63 - 1])
def test_a_k_that_is_no_number_of_activations(k: int | None, opened: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="the attribute K must be an integer from 1 to 16777216"):
        opened(model_of(good(), k))


@pytest.mark.parametrize("k", [20.0, "20", [20]])
def test_a_k_of_another_type(k: object, opened: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="the attribute K must be an integer"):
        opened(model_of(good(), None, K=k))


def test_weights_that_are_no_constants(opened: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="weights must be a constant of the graph"):
        opened(model_of(good(), K, constant=False))


@pytest.mark.parametrize("shape", [(), (K - 1,), (2, K + 1), (K, 2), (2, 0)])
def test_activations_of_another_width(shape: tuple[int, ...], opened: Callable[..., Any]) -> None:
    session = opened(model_of(good(), K, rank=len(shape)))
    with pytest.raises(Exception, match="its last dimension must be K = 20"):
        session.run(None, {"x": np.zeros(shape, np.float32)})
    (y,) = session.run(None, {"x": np.zeros((*shape[:-1], K), np.float32)}) if shape else (np.zeros(1),)
    assert np.isfinite(y).all()


def test_a_kernel_that_does_not_exist(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_KERNEL", "abacus")
    with pytest.raises(Exception, match=r"EDGEPACK_KERNEL asks for 'abacus'.*portable"):
        opened(model_of(good(), K))


def test_nothing_that_a_file_says_crashes(opened: Callable[..., Any]) -> None:
    """Random shapes, types and attributes: each is computed correctly or refused."""
    rng = np.random.default_rng(1)
    outcomes = {"computed": 0, "refused": 0}
    tried = 400
    for _ in range(tried):
        k = int(rng.choice([-1, 0, 1, 7, 8, 9, 20]))
        n = int(rng.integers(0, 4))
        inputs: dict[str, np.ndarray] = {
            "weights": rng.integers(0, 256, (n, (max(k, 0) + 7) // 8)).astype(np.uint8),
            "alpha": rng.standard_normal(n).astype(np.float32),
            "bias": rng.standard_normal(n).astype(np.float32),
            "shift": rng.standard_normal(max(k, 0)).astype(np.float32),
        }
        if rng.random() < 0.6:
            name = rng.choice(list(inputs))
            shape = rng.integers(0, 5, int(rng.integers(0, 4)))
            inputs[name] = np.ones(shape, rng.choice([np.uint8, np.float32, np.int64]))  # type: ignore[call-overload]
        if rng.random() < 0.2:
            inputs = dict(list(inputs.items())[: int(rng.integers(0, 4))])
        x = np.ones((2, max(k, 0) + int(rng.choice([0, 0, 0, 1]))), np.float32)
        try:
            (y,) = opened(model_of(inputs, k)).run(None, {"x": x})
        except Exception as error:  # noqa: BLE001 - the runtime's own type of error
            outcomes["refused"] += any(word in str(error) for word in ("edgepack", "BinLinear", "layer"))
            continue
        bits = np.unpackbits(inputs["weights"], axis=1, count=k, bitorder="little")
        layer = BinaryLayer(bits, inputs["alpha"], inputs["bias"], inputs.get("shift"))
        np.testing.assert_array_equal(y, layer.expected(x))
        outcomes["computed"] += 1
    assert sum(outcomes.values()) == tried, "an error does not say what it is about"
    assert min(outcomes.values()) > 50, outcomes
