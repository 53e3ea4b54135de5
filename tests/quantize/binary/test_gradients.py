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


def through_deviation(x: np.ndarray, slope: Slope, g: np.ndarray) -> np.ndarray:
    """The gradient of sign(x / s) with s the deviation of a row."""
    n = x.shape[1]
    s = np.sqrt(x.var(1, ddof=1, keepdims=True) + 1e-5)
    g = g * slope(x / s)
    centred = x - x.mean(1, keepdims=True)
    return g / s - centred * (g * x).sum(1, keepdims=True) / ((n - 1) * s**3)


def recu(w: np.ndarray, h: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    n = w.shape[1]
    s = np.sqrt(w.var(1, ddof=1, keepdims=True) + 1e-5)
    z = (w - w.mean(1, keepdims=True)) / s
    u = z * 2 * np.sqrt(2)
    g = h * alpha * (np.abs(u) <= -np.abs(u).mean() * np.log(2 - 2 * 0.85)) * 2 * np.sqrt(2)
    return (g - g.mean(1, keepdims=True) - z * (g * z).sum(1, keepdims=True) / (n - 1)) / s


def series(v: np.ndarray) -> np.ndarray:
    terms = np.stack([np.cos((2 * i + 1) * 0.1 * v) for i in range(10)])
    return 4 * 0.1 / np.pi * terms.sum(0)


def centred(w: np.ndarray) -> np.ndarray:
    return w - w.mean(1, keepdims=True)


def row_means(w: np.ndarray) -> np.ndarray:
    return np.abs(w).mean(1, keepdims=True)


@dataclass(frozen=True)
class Formula:
    """A method, of y = S (alpha B)'.

    Attributes:
        x: d sign(x) times g, the gradient that S receives.
        w: d(alpha b) times h, the gradient that alpha B receives.
        scale: alpha of w, [N, 1].
        bits: B of w.
        activations: S of x.
    """

    x: Callable[[np.ndarray, np.ndarray], np.ndarray]
    w: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    scale: Callable[[np.ndarray], np.ndarray] = row_means
    bits: Callable[[np.ndarray], np.ndarray] = signs
    activations: Callable[[np.ndarray], np.ndarray] = signs


FORMULAS = {
    "bnn": Formula(
        lambda x, g: g * clipped(x), lambda w, h, _alpha: h * clipped(w), lambda w: np.ones((len(w), 1))
    ),
    "xnor-net": Formula(
        lambda x, g: g * clipped(x), lambda w, h, alpha: h * (1 / w.shape[1] + alpha * clipped(w))
    ),
    "xnor++": Formula(lambda x, g: g * clipped(x), lambda w, h, alpha: h * alpha * clipped(w)),
    "dorefa": Formula(
        lambda x, g: g * np.where((x >= 0) & (x <= 1), 1.0, 0.0),
        lambda _w, h, _alpha: h,
        lambda w: np.full((len(w), 1), np.abs(w).mean()),
        activations=lambda x: np.where(np.clip(x, 0, 1) >= 0.5, 1.0, 0.0),
    ),
    "bi-real": Formula(lambda x, g: g * quadratic(x), lambda w, h, alpha: h * alpha * clipped(w)),
    "reactnet": Formula(lambda x, g: g * quadratic(x), lambda w, h, alpha: h * alpha * clipped(w)),
    "recu": Formula(
        lambda x, g: through_deviation(x, quadratic, g),
        recu,
        bits=lambda w: signs(w - w.mean(1, keepdims=True)),
    ),
    "bibert": Formula(
        lambda x, g: g * clipped(x),
        lambda w, h, alpha: centred(h * alpha * clipped(centred(w))),
        lambda w: row_means(centred(w)),
        lambda w: signs(centred(w)),
    ),
    # The noise module starts as a tenth of the values.
    "fda": Formula(lambda x, g: g * (series(x) + 0.1), lambda w, h, alpha: h * alpha * (series(w) + 0.1)),
    "biper": Formula(
        lambda x, g: through_deviation(x, quadratic, g),
        lambda w, h, alpha: h * alpha * 20 * np.cos(20 * w),
        bits=lambda w: signs(np.sin(20 * w)),
    ),
}


@dataclass(frozen=True)
class Differentiated:
    layer: BinaryLayer
    x: np.ndarray
    w: np.ndarray
    upstream: np.ndarray
    y: np.ndarray
    x_gradient: np.ndarray
    w_gradient: np.ndarray


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
    y = layer(values)
    y.backward(torch.from_numpy(upstream))
    return Differentiated(layer, x, w, upstream, y.detach().numpy(), values.grad.numpy(), weight.grad.numpy())


def test_every_method_has_a_formula_here():
    assert set(FORMULAS) == set(methods.names())


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"xnor-net"}))
def test_outputs_and_gradients_follow_the_formula(name):
    d, formula = differentiated(name), FORMULAS[name]
    alpha, bits, activations = formula.scale(d.w), formula.bits(d.w), formula.activations(d.x)
    np.testing.assert_allclose(d.y, activations @ (alpha * bits).T, rtol=1e-12, atol=1e-12)
    expected = formula.x(d.x, d.upstream @ (alpha * bits))
    np.testing.assert_allclose(d.x_gradient, expected, rtol=1e-12, atol=1e-12)
    expected = formula.w(d.w, d.upstream.T @ activations, alpha)
    np.testing.assert_allclose(d.w_gradient, expected, rtol=1e-11, atol=1e-11)


def test_xnor_nets_gradients_hold_the_scale_of_the_input():
    d, formula = differentiated("xnor-net"), FORMULAS["xnor-net"]
    scale, alpha = np.abs(d.x).mean(1, keepdims=True), row_means(d.w)
    scaled, weights = d.upstream * scale, alpha * signs(d.w)
    np.testing.assert_allclose(d.y, scale * (signs(d.x) @ weights.T), rtol=1e-12, atol=1e-12)
    expected = formula.w(d.w, scaled.T @ signs(d.x), alpha)
    np.testing.assert_allclose(d.w_gradient, expected, rtol=1e-12, atol=1e-12)
    # y = K s: the signs by the estimator, and K = mean |x| by its own derivative, which torch gives as 0 at 0
    through_k = (d.upstream * (signs(d.x) @ weights.T)).sum(1, keepdims=True) * np.sign(d.x) / d.x.shape[1]
    expected = formula.x(d.x, scaled @ weights) + through_k
    np.testing.assert_allclose(d.x_gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["xnor++", "recu", "biper"])
def test_learned_scales_receive_what_their_outputs_sums_receive(name):
    d, formula = differentiated(name), FORMULAS[name]
    expected = (d.upstream * (signs(d.x) @ formula.bits(d.w).T)).sum(0)
    gradient = d.layer.method.get_parameter("scale").grad.numpy()
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


def test_fdas_noise_adds_its_gradients_and_no_value():
    random = np.random.default_rng(1)
    a, f = random.normal(size=(4, len(GRID))), random.normal(size=(len(GRID), 4))

    def set_noise(layer: BinaryLayer) -> None:
        noise: Any = layer.method.get_submodule("of_activations")
        noise.inner.weight.data.copy_(torch.from_numpy(a))
        noise.outer.weight.data.copy_(torch.from_numpy(f))

    d = differentiated("fda", set_noise)
    weights = row_means(d.w) * signs(d.w)
    np.testing.assert_allclose(d.y, signs(d.x) @ weights.T, rtol=1e-12, atol=1e-12)
    g, hidden = d.upstream @ weights, d.x @ a.T
    expected = g * (series(d.x) + 0.1) + 0.1 * ((g @ f) * (hidden > 0)) @ a
    np.testing.assert_allclose(d.x_gradient, expected, rtol=1e-12, atol=1e-12)
    noise: Any = d.layer.method.get_submodule("of_activations")
    np.testing.assert_allclose(
        noise.outer.weight.grad.numpy(), 0.1 * g.T @ np.maximum(hidden, 0), rtol=1e-12, atol=1e-12
    )
    noise.inner.weight.data.fill_(7)
    with torch.no_grad():
        alone = d.layer.eval()(torch.from_numpy(d.x)).numpy()
    np.testing.assert_array_equal(alone, d.y)


def test_xnor_plus_pluss_positions_have_scales_of_their_own():
    geometry = Geometry(4, 3, (2, 2), output_size=(4, 3))
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, 2, 2, dtype=torch.float64))
    layer = BinaryLayer(geometry, weight, None, methods.get("xnor++")(geometry, weight.detach()))
    scales = [layer.method.get_parameter(name) for name in ("scale", "rows", "columns")]
    for scale in scales:
        scale.data.normal_()
    images = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    y = layer(images)
    upstream = torch.randn(y.shape, dtype=torch.float64)
    y.backward(upstream)
    alpha, beta, gamma = (scale.detach().numpy() for scale in scales)
    windows = np.lib.stride_tricks.sliding_window_view(signs(images.numpy()), (2, 2), (2, 3))
    sums = np.einsum("bcijuv,ncuv->bnij", windows, signs(weight.detach().numpy()))
    np.testing.assert_allclose(y.detach(), sums * np.einsum("n,i,j->nij", alpha, beta, gamma), rtol=1e-12)
    g = upstream.numpy() * sums
    for scale, subscripts, others in zip(
        scales,
        ("i,j,bnij->n", "n,j,bnij->i", "n,i,bnij->j"),
        ((beta, gamma), (alpha, gamma), (alpha, beta)),
        strict=True,
    ):
        np.testing.assert_allclose(
            scale.grad.numpy(), np.einsum(subscripts, *others, g), rtol=1e-12, atol=1e-12
        )


def test_bipers_first_stage_has_real_weights_and_its_second_their_signs():
    d = differentiated("biper", lambda layer: layer.method.progress(0))
    sines = np.sin(20 * d.w)
    np.testing.assert_allclose(d.y, signs(d.x) @ (row_means(d.w) * sines).T, rtol=1e-12, atol=1e-12)
    expected = d.upstream.T @ signs(d.x) * row_means(d.w) * 20 * np.cos(20 * d.w)
    np.testing.assert_allclose(d.w_gradient, expected, rtol=1e-11, atol=1e-11)
    d.layer.method.progress(1)
    np.testing.assert_allclose(
        d.layer(torch.from_numpy(d.x)).detach(),
        signs(d.x) @ (row_means(d.w) * signs(sines)).T,
        rtol=1e-12,
        atol=1e-12,
    )


def test_recus_quantile_follows_the_training():
    method: Any = methods.get("recu")(Geometry(2, 3), torch.randn(2, 3))
    taus = []
    for fraction in (0, 0.5, 1):
        method.progress(fraction)
        taus.append(method.tau)
    assert taus == pytest.approx([0.85, 0.92, 0.99])


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
    expected = d.upstream @ (row_means(d.w) * signs(d.w)) * quadratic(d.x - moved)
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


# ReCU and BiPer divide by the deviation of the sample, and FDA's noise mixes channels: both see no windows in training.
@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"recu", "biper", "fda"}))
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
