"""Every form of a recurrence against the plain loop, in torch and exported, at lengths other than the traced."""

import functools
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.export import Dim

from edgepack.exporters.scans.chunked import chunked_scan, chunked_step
from edgepack.exporters.scans.convolution import (
    causal_convolution,
    convolution_step,
    impulse_response,
    invariant_step,
)
from edgepack.exporters.scans.linear import linear_scan, linear_step
from edgepack.exporters.scans.selective import selective_scan, selective_step
from edgepack.exporters.translations import remembered

# What the exporter says of itself while it works
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

CHUNK = 8
LENGTHS = (1, CHUNK - 1, CHUNK, CHUNK + 1, 100)


def linear_inputs(batch, length, dtype=torch.float32):
    shape = (batch, length, 3, 4)
    return (
        torch.rand(shape, dtype=dtype),
        torch.randn(shape, dtype=dtype),
        torch.randn(batch, 3, 4, dtype=dtype),
    )


def selective_inputs(batch, length, dtype=torch.float32):
    def draw(*shape):
        return torch.randn(*shape, dtype=dtype)

    return (
        draw(batch, length, 6), torch.nn.functional.softplus(draw(batch, length, 6)), -torch.exp(draw(6, 4)),
        draw(batch, length, 4), draw(batch, length, 4), draw(6), draw(batch, 6, 4),
    )  # fmt: skip


def chunked_inputs(batch, length, dtype=torch.float32):
    def draw(*shape):
        return torch.randn(*shape, dtype=dtype)

    return (
        draw(batch, length, 4, 3), -torch.nn.functional.softplus(draw(batch, length, 4)),
        draw(batch, length, 2, 5), draw(batch, length, 2, 5), draw(batch, 4, 3, 5),
    )  # fmt: skip


def plain_linear(decay, update, state):
    states = []
    for t in range(update.shape[1]):
        state = decay[:, t] * state + update[:, t]
        states.append(state)
    return torch.stack(states, 1), state


def plain_selective(x, delta, a, b, c, d, state):
    y = []
    for t in range(x.shape[1]):
        state = torch.exp(delta[:, t, :, None] * a) * state + (delta * x)[:, t, :, None] * b[:, t, None]
        y.append(torch.einsum("bdn,bn->bd", state, c[:, t]) + d * x[:, t])
    return torch.stack(y, 1), state


def plain_chunked(x, log_decay, b, c, state):
    b, c = (torch.stack([v[:, :, g] for g in (0, 0, 1, 1)], 2) for v in (b, c))
    y = []
    for t in range(x.shape[1]):
        state = log_decay[:, t].exp()[..., None, None] * state + torch.einsum(
            "bhp,bhn->bhpn", x[:, t], b[:, t]
        )
        y.append(torch.einsum("bhpn,bhn->bhp", state, c[:, t]))
    return torch.stack(y, 1), state


chunked: Any = functools.partial(chunked_scan, chunk=CHUNK)


def plain_convolution(kernel, x):
    y = torch.zeros_like(x)
    for t in range(x.shape[1]):
        for k in range(min(kernel.shape[1], t + 1)):
            y[:, t] += kernel[:, k] * x[:, t - k]
    return (y,)


def convolution_inputs(batch, length, dtype=torch.float32):
    return torch.randn(3, 20, dtype=dtype), torch.randn(batch, length, 3, dtype=dtype)


def convolution(kernel, x):
    return (causal_convolution(kernel, x),)


ALONG = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
BATCH = {0: Dim.DYNAMIC}
FORMS: dict[str, Any] = {
    "linear": (linear_scan, plain_linear, linear_inputs, (ALONG, ALONG, BATCH), 1),
    "selective": (
        selective_scan, plain_selective, selective_inputs, (ALONG, ALONG, {}, ALONG, ALONG, {}, BATCH), 1,
    ),
    "chunked": (chunked, plain_chunked, chunked_inputs, (ALONG, ALONG, ALONG, ALONG, BATCH), 0),
    "convolution": (convolution, plain_convolution, convolution_inputs, ({}, ALONG), 0),
}  # fmt: skip


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def translated(function, inputs, dims, *, strict=False):
    program = torch.export.export(Module(function), inputs, dynamic_shapes=(dims,), strict=strict)
    with remembered():
        return torch.onnx.export(program, dynamo=True, verbose=False, optimize=False).model_proto


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-4)], ids=str)
def test_a_form_is_the_recurrence(form, length, dtype, tolerance):
    torch.manual_seed(length)
    function, plain, make, _, _ = FORMS[form]
    inputs = make(2, length, dtype)
    for have, want in zip(function(*inputs), plain(*inputs), strict=True):
        assert have.dtype == dtype
        torch.testing.assert_close(have, want, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_form_is_the_recurrence_at_every_length(form, strict):
    torch.manual_seed(0)
    function, plain, make, dims, scans = FORMS[form]
    model = translated(function, make(2, 11), dims, strict=strict)
    assert operators(model).count("Scan") == scans
    assert "Loop" not in operators(model)
    # Another traced length gives the same nodes: nothing was written out per step.
    assert operators(translated(function, make(2, 45), dims, strict=strict)) == operators(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for batch, length in [(2, 11), *((3, length) for length in LENGTHS), (1, 1)]:
        inputs = make(batch, length)
        names = [value.name for value in session.get_inputs()]
        got = session.run(None, {k: v.numpy() for k, v in zip(names, inputs, strict=True)})
        for have, want in zip(got, plain(*inputs), strict=True):
            np.testing.assert_allclose(have, want.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["linear", "selective", "chunked"])
def test_without_a_state_the_first_one_is_zero(form):
    function, plain, make, _, _ = FORMS[form]
    inputs = make(2, 9)
    for have, want in zip(
        function(*inputs[:-1]), plain(*inputs[:-1], torch.zeros_like(inputs[-1])), strict=True
    ):
        torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4)


def test_half_a_sequence_after_the_other_is_the_whole():
    for form in ("linear", "selective", "chunked"):
        function, _, make, dims, _ = FORMS[form]
        inputs = make(2, 21, torch.float64)
        whole, last = function(*inputs)
        parts = []
        state = inputs[-1]
        for piece in (slice(0, 10), slice(10, None)):
            cut = [v[:, piece] if 1 in d else v for v, d in zip(inputs[:-1], dims[:-1], strict=True)]
            part, state = function(*cut, state)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts, 1), whole)
        torch.testing.assert_close(state, last)


def test_long_sequences_that_forget_fast_stay_exact():
    """Running sums of the logarithms reach -1e5 here, where a float32 has no hundredths left."""
    x, log_decay, b, c, state = chunked_inputs(1, 4096)
    log_decay = log_decay * 30
    log_decay[:, -3:] = -0.01
    expected = plain_chunked(*(v.double() for v in (x, log_decay, b, c, state)))
    for have, want in zip(chunked_scan(x, log_decay, b, c, state), expected, strict=True):
        torch.testing.assert_close(have.double(), want, rtol=1e-3, atol=1e-3)


def test_steps_are_the_sequence():
    torch.manual_seed(1)
    decay, update, state = linear_inputs(2, 12)
    states, last = linear_scan(decay, update, state)
    for t in range(12):
        state = linear_step(decay[:, t], update[:, t], state)
        torch.testing.assert_close(state, states[:, t])
    torch.testing.assert_close(state, last)

    x, delta, a, b, c, d, state = selective_inputs(2, 12)
    outputs, _ = selective_scan(x, delta, a, b, c, d, state)
    for t in range(12):
        y, state = selective_step(x[:, t], delta[:, t], a, b[:, t], c[:, t], d, state)
        torch.testing.assert_close(y, outputs[:, t])

    x, log_decay, b, c, state = chunked_inputs(2, 12)
    outputs, _ = chunked(x, log_decay, b, c, state)
    for t in range(12):
        y, state = chunked_step(x[:, t], log_decay[:, t], b[:, t], c[:, t], state)
        torch.testing.assert_close(y, outputs[:, t], rtol=1e-4, atol=1e-4)

    kernel, x = convolution_inputs(2, 30)
    outputs, history = causal_convolution(kernel, x), torch.zeros(2, 19, 3)
    for t in range(30):
        y, history = convolution_step(kernel, x[:, t], history)
        torch.testing.assert_close(y, outputs[:, t], rtol=1e-4, atol=1e-4)


def test_an_invariant_system_is_its_convolution():
    torch.manual_seed(2)
    a = torch.linalg.qr(torch.randn(4, 4))[0] * 0.9
    b, c, x = torch.randn(4), torch.randn(2, 4), torch.randn(3, 25)
    y = causal_convolution(impulse_response(a, b, c, 25), torch.stack([x, x], -1))
    state = torch.zeros(3, 4)
    for t in range(25):
        state = invariant_step(a, b, x[:, t], state)
        torch.testing.assert_close(y[:, t], state @ c.mT, rtol=1e-4, atol=1e-4)


def test_a_diagonal_system_has_a_kernel_a_channel():
    a, b, c = torch.rand(4, 4), torch.randn(4, 4), torch.randn(4, 4)
    kernel = impulse_response(a, b, c, 5)
    expected = torch.stack([(c * a**k * b).sum(-1) for k in range(5)], -1)
    torch.testing.assert_close(kernel, expected)


@pytest.mark.slow
def test_an_exported_step_keeps_its_state_outside():
    torch.manual_seed(3)
    x, delta, a, b, c, d, state = selective_inputs(2, 3)
    inputs = (x[:, 0], delta[:, 0], a, b[:, 0], c[:, 0], d, state)
    model = translated(selective_step, inputs, (BATCH, BATCH, {}, BATCH, BATCH, {}, BATCH))
    assert not {"Scan", "Loop"} & set(operators(model))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    outputs, last = plain_selective(x, delta, a, b, c, d, state)
    for t in range(3):
        feed = (x[:, t], delta[:, t], a, b[:, t], c[:, t], d, torch.as_tensor(state))
        y, state = session.run(None, {k: v.numpy() for k, v in zip(names, feed, strict=True)})
        np.testing.assert_allclose(y, outputs[:, t].numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state, last.numpy(), rtol=1e-4, atol=1e-5)
