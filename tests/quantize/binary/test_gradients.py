"""Each method's gradients against its formula, written here in numpy.

A linear layer y = X W' with an upstream gradient G: what a formula says of d sign(x) and d(alpha b) is applied to
G (alpha B) and to G' S, S and B being the signs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepack.quantize.binary import methods
from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._layer import BinaryLayer
from tests.quantize.binary.reference import signs

Slope = Callable[[np.ndarray], np.ndarray]
# Zeros, the clip bounds, and the numbers next to them
GRID = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, np.nextafter(1, 2), -np.nextafter(1, 2), np.nextafter(1, 0)),
        *(0.5, -0.5, 0.25, -0.75, 2.0, -2.0, 1e-30, -1e-30, 0.3),
    ]
)


def clipped(v: np.ndarray) -> np.ndarray:
    return np.where((v >= -1) & (v <= 1), 1.0, 0.0)


def quadratic(v: np.ndarray) -> np.ndarray:
    return np.where((v >= -1) & (v < 0), 2 + 2 * v, np.where((v >= 0) & (v < 1), 2 - 2 * v, 0.0))


@dataclass(frozen=True)
class Formula:
    """d sign(x)/dx, and d(alpha b_i)/dw_i of a row of weights w with alpha."""

    activation: Slope
    weight: Callable[[np.ndarray, np.ndarray], np.ndarray]


FORMULAS = {
    "bnn": Formula(clipped, lambda w, _alpha: clipped(w)),
    "xnor-net": Formula(clipped, lambda w, alpha: 1 / w.shape[1] + alpha * clipped(w)),
    "bi-real": Formula(quadratic, lambda w, alpha: alpha * clipped(w)),
    "reactnet": Formula(quadratic, lambda w, alpha: alpha * clipped(w)),
}
UNSCALED = {"bnn"}


@dataclass(frozen=True)
class Differentiated:
    layer: BinaryLayer
    x: np.ndarray
    w: np.ndarray
    upstream: np.ndarray
    x_gradient: np.ndarray
    w_gradient: np.ndarray

    @property
    def alpha(self) -> np.ndarray:
        means = np.abs(self.w).mean(1, keepdims=True)
        return np.ones_like(means) if self.layer.method.name in UNSCALED else means


def differentiated(name: str, prepare: Callable[[BinaryLayer], None] = lambda _layer: None) -> Differentiated:
    """A layer without what stands behind the product, on the grid in its activations and in its weights."""
    random = np.random.default_rng(0)
    x = np.stack([GRID, *(random.permutation(GRID) for _ in range(3))])
    w = np.stack([random.permutation(GRID) for _ in range(5)])
    weight = nn.Parameter(torch.from_numpy(w.copy()))
    geometry = Geometry(5, len(GRID))
    layer = BinaryLayer(geometry, weight, None, methods.get(name)(geometry, weight.detach()))
    layer.method.after = None
    prepare(layer)
    values = torch.from_numpy(x.copy()).requires_grad_()
    upstream = random.normal(size=(4, 5))
    layer(values).backward(torch.from_numpy(upstream))
    return Differentiated(layer, x, w, upstream, values.grad.numpy(), weight.grad.numpy())


def test_every_method_has_a_formula_here():
    assert set(FORMULAS) == set(methods.names())


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"xnor-net"}))
def test_gradients_of_activations_follow_the_formula(name):
    d = differentiated(name)
    expected = d.upstream @ (d.alpha * signs(d.w)) * FORMULAS[name].activation(d.x)
    np.testing.assert_allclose(d.x_gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"xnor-net"}))
def test_gradients_of_weights_follow_the_formula(name):
    d = differentiated(name)
    expected = d.upstream.T @ signs(d.x) * FORMULAS[name].weight(d.w, d.alpha)
    np.testing.assert_allclose(d.w_gradient, expected, rtol=1e-12, atol=1e-12)


def test_xnor_nets_gradients_hold_the_scale_of_the_input():
    d = differentiated("xnor-net")
    formula, scale = FORMULAS["xnor-net"], np.abs(d.x).mean(1, keepdims=True)
    scaled, weights = d.upstream * scale, d.alpha * signs(d.w)
    expected = scaled.T @ signs(d.x) * formula.weight(d.w, d.alpha)
    np.testing.assert_allclose(d.w_gradient, expected, rtol=1e-12, atol=1e-12)
    # y = K s: the signs by the estimator, and K = mean |x| by its own derivative, which torch gives as 0 at 0
    through_k = (d.upstream * (signs(d.x) @ weights.T)).sum(1, keepdims=True) * np.sign(d.x) / d.x.shape[1]
    expected = scaled @ weights * formula.activation(d.x) + through_k
    np.testing.assert_allclose(d.x_gradient, expected, rtol=1e-12, atol=1e-12)


def test_a_filter_of_zeros_has_no_scale_and_trains_on():
    geometry = Geometry(2, 3)
    weight = nn.Parameter(torch.zeros(2, 3))
    layer = BinaryLayer(geometry, weight, None, methods.get("xnor-net")(geometry, weight.detach()))
    y = layer(torch.ones(1, 3))
    y.sum().backward()
    assert y.tolist() == [[0, 0]]
    assert weight.grad.isfinite().all()


def test_reactnets_thresholds_receive_minus_what_their_channels_activations_receive():
    moved = np.linspace(-0.5, 0.5, len(GRID))

    def move(layer: BinaryLayer) -> None:
        layer.method.get_parameter("threshold").data.copy_(torch.from_numpy(moved))

    d = differentiated("reactnet", move)
    expected = d.upstream @ (d.alpha * signs(d.w)) * quadratic(d.x - moved)
    np.testing.assert_allclose(d.x_gradient, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        d.layer.method.get_parameter("threshold").grad.numpy(), -expected.sum(0), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("kernel", [None, (1, 1)], ids=["linear", "convolution"])
def test_rprelu_follows_the_formula(kernel):
    geometry = Geometry(4, 3, kernel)
    made: Any = methods.get("reactnet")(geometry, torch.zeros(4, 3, *kernel or (), dtype=torch.float64)).after
    random = np.random.default_rng(0)
    slope, origin, target = random.normal(size=(3, 4))
    for parameter, values in ((made.slope, slope), (made.origin, origin), (made.target, target)):
        parameter.data.copy_(torch.from_numpy(values))
    y = np.concatenate([random.normal(size=(6, 4)), origin[None]])  # the last row stands on the bend
    shaped = y if kernel is None else y.reshape(7, 4, 1, 1)
    out = made(torch.from_numpy(shaped), torch.zeros(7, 3, *kernel or ()))
    upstream = random.normal(size=(7, 4))
    out.backward(torch.from_numpy(upstream.reshape(shaped.shape)))
    moved = y - origin
    expected = np.where(moved > 0, moved, slope * moved) + target
    np.testing.assert_allclose(out.detach().numpy().reshape(7, 4), expected, rtol=1e-12)
    inner = np.where(moved > 0, 1, slope)
    np.testing.assert_allclose(made.origin.grad.numpy(), -(upstream * inner).sum(0), rtol=1e-12)
    np.testing.assert_allclose(made.target.grad.numpy(), upstream.sum(0), rtol=1e-12)
    np.testing.assert_allclose(
        made.slope.grad.numpy(), (upstream * np.where(moved > 0, 0, moved)).sum(0), rtol=1e-12
    )


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_a_convolution_computes_and_differentiates_as_the_linear_layer_on_its_windows(name):
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    images = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    results = []
    for unfolded in (False, True):
        parameter = nn.Parameter(weight.flatten(1).clone() if unfolded else weight.clone())
        geometry = Geometry(4, 12) if unfolded else Geometry(4, 3, (2, 2), (2, 1))
        layer = BinaryLayer(geometry, parameter, None, methods.get(name)(geometry, parameter.detach()))
        layer.method.after = None
        values = images.clone().requires_grad_()
        if unfolded:
            windows = nn.functional.unfold(values, (2, 2), stride=(2, 1)).transpose(1, 2)
            y = layer(windows).transpose(1, 2).reshape(2, 4, 2, 3)
        else:
            y = layer(values)
        y.square().sum().backward()
        results.append((y.detach(), values.grad, parameter.grad.reshape(weight.shape)))
    for convolution, linear in zip(*results, strict=True):
        torch.testing.assert_close(convolution, linear, rtol=1e-10, atol=1e-10)
