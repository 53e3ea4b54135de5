"""Blockwise weights: the layout that MatMulNBits reads, and what GPTQ and AWQ are worth."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edgepack.quantize._onnx_awq import awq_factors, output_error
from edgepack.quantize._onnx_blocks import dequantized, half_quadratic, nearest
from edgepack.quantize._onnx_gptq import _factor, gptq
from edgepack.quantize._onnx_gram import Moments

INPUTS, OUTPUTS, BLOCK = 112, 24, 32  # the last block is half full


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)


def correlated(rows: int = 500) -> np.ndarray:
    """Inputs of few directions, some channels far louder than others."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(rows, 20)) @ rng.normal(size=(20, INPUTS)) + 0.1 * rng.normal(
        size=(rows, INPUTS)
    )
    return inputs * np.where(np.arange(INPUTS) % 16 == 3, 12, 1)


def moments_of(inputs: np.ndarray) -> Moments:
    return Moments(inputs.T @ inputs, np.abs(inputs).sum(axis=0))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_nearest_is_within_a_step_of_its_block(weight, bits, symmetric):
    blocks = nearest(weight, bits, BLOCK, symmetric=symmetric)
    assert (blocks.zeros is None) == symmetric
    error = np.abs(dequantized(blocks, INPUTS, bits) - weight)
    steps = np.repeat(np.abs(blocks.scales), BLOCK, axis=1)[:, :INPUTS].T
    assert (error <= steps * 1.0001).all()  # the end that has no level of its own is a whole step away
    assert np.median(error / steps) < 0.3


def test_half_quadratic_beats_nearest_in_its_own_norm(weight):
    weight[5, :] *= 6

    def cost(values: np.ndarray) -> float:
        return float((np.abs(values - weight) ** 0.7).sum())

    ours = dequantized(half_quadratic(weight, BLOCK), INPUTS, 4)
    assert cost(ours) < cost(dequantized(nearest(weight, 4, BLOCK, symmetric=False), INPUTS, 4))


def test_the_root_logger_is_left_alone(weight):
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    nearest(weight, 4, BLOCK, symmetric=True)
    assert (list(root.handlers), root.level) == before


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_costs_the_product_less_than_nearest(weight, bits):
    found = moments_of(correlated())
    plain = dequantized(nearest(weight, bits, BLOCK, symmetric=True), INPUTS, bits)
    solved = dequantized(gptq(weight, found.gram, bits, BLOCK), INPUTS, bits)
    assert output_error(weight, solved, found) < 0.5 * output_error(weight, plain, found)


def test_gptq_of_independent_inputs_is_rounding_to_nearest(weight):
    solved = dequantized(gptq(weight, np.eye(INPUTS), 4, BLOCK), INPUTS, 4)
    np.testing.assert_allclose(
        solved, dequantized(nearest(weight, 4, BLOCK, symmetric=True), INPUTS, 4), atol=1e-5
    )


@pytest.mark.parametrize("size", [1, 5, 64, 65, 200])
def test_gptqs_factor_is_that_of_the_damped_inverse(size):
    samples = np.random.default_rng(size).normal(size=(size // 2 + 1, size))
    samples[:, size // 3] = 0
    gram = samples.T @ samples
    mean = np.diagonal(gram).mean() or 1.0
    damped = gram + np.diag(np.where(np.diagonal(gram) > 0, 0.01 * mean, mean))
    factor = _factor(gram)
    np.testing.assert_array_equal(np.tril(factor, -1), 0)
    assert (np.diagonal(factor) > 0).all()
    np.testing.assert_allclose(factor.T @ factor @ damped, np.eye(size), atol=1e-9)


def test_gptq_takes_inputs_that_are_never_set(weight):
    inputs = correlated()
    inputs[:, 7] = 0
    blocks = gptq(weight, moments_of(inputs).gram, 4, BLOCK)
    assert np.isfinite(blocks.scales).all()
    np.testing.assert_allclose(dequantized(blocks, INPUTS, 4)[7], weight[7], atol=0.6)
    assert np.isfinite(gptq(weight, np.zeros((INPUTS, INPUTS)), 4, BLOCK).scales).all()


def test_awq_costs_the_products_less(weight):
    inputs = correlated()
    found = moments_of(inputs)

    def rounded(values: np.ndarray) -> np.ndarray:
        return dequantized(nearest(values, 4, BLOCK, symmetric=True), len(values), 4)

    factors = awq_factors([weight, 2 * weight], found, rounded)
    assert factors is not None
    assert factors.shape == (INPUTS,)
    scaled = rounded(weight * factors[:, None])
    exact = np.square((inputs / factors) @ scaled - inputs @ weight).sum()
    np.testing.assert_allclose(output_error(weight, scaled / factors[:, None], found), exact, rtol=1e-3)
    assert exact < 0.8 * output_error(weight, rounded(weight), found)


def test_awq_changes_nothing_when_nothing_is_gained(weight):
    found = moments_of(correlated())
    assert awq_factors([weight], found, lambda values: values) is None
    silent = Moments(np.zeros((INPUTS, INPUTS)), np.zeros(INPUTS))
    assert awq_factors([weight], silent, np.zeros_like) is None
