"""Row 77: steps against the whole sequence, what sees what, and a state that never grows."""

import torch

from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.sequence import birdie as row77
from edgepack.exporters.architectures.sequence._birdie import GatedSSM, Network, state_shapes
from tests.exporters.architectures.sequence.decoders import steps_equal_the_whole

TINY = row77.CONFIGS["tiny"]


def test_steps_after_a_prefix_equal_the_whole_sequence():
    steps_equal_the_whole(row77.build(TINY))


def test_the_prefix_sees_itself_and_nothing_sees_what_comes_later():
    layer = GatedSSM(TINY)
    initialize(layer, 0)
    prefix, length = 6, 11
    x = torch.randn(1, length, TINY.width, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v, prefix)[0][0].sum(-1), x)
    sees = jacobian[:, 0].abs().sum(-1) > 0
    place = torch.arange(length)
    expected = (place[None] <= place[:, None]) | ((place[None] < prefix) & (place[:, None] < prefix))
    assert torch.equal(sees, expected)


def test_the_layer_is_its_recurrence():
    layer = GatedSSM(TINY)
    initialize(layer, 0)
    prefix, length, there = 6, 11, TINY.backward
    x = torch.randn(2, length, TINY.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        keep, update, gate = layer._elements(x)
        states = torch.zeros(2, length, TINY.inner)
        state = torch.zeros(2, there)
        for t in [*reversed(range(prefix))]:
            state = states[:, t, :there] = keep[:, t, :there] * state + update[:, t, :there]
        state = states[:, prefix - 1, :there]
        for t in range(prefix, length):
            state = states[:, t, :there] = keep[:, t, :there] * state + update[:, t, :there]
        state = torch.zeros(2, TINY.inner - there)
        for t in range(length):
            state = states[:, t, there:] = keep[:, t, there:] * state + update[:, t, there:]
        torch.testing.assert_close(layer(x, prefix)[0], layer.out(states * gate), atol=1e-5, rtol=1e-4)


def test_a_state_has_no_positions():
    big = row77.CONFIGS["1.4b"]
    assert set(state_shapes(big).values()) == {str(big.inner)}
    with torch.no_grad():
        _, short = Network(TINY).prefill(torch.zeros(1, 3, dtype=torch.int64))
        _, long = Network(TINY).prefill(torch.zeros(1, 40, dtype=torch.int64))
    assert [state.shape for state in short] == [state.shape for state in long]
