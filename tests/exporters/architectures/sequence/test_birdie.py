"""Row 77: steps against the whole sequence, what sees what, and a state that never grows."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.sequence import birdie as row77
from edgepack.exporters.architectures.sequence._birdie import GatedSSM, Network, state_shapes
from tests.exporters.architectures.sequence.decoders import steps_equal_the_whole

TINY = row77.CONFIGS["tiny"]


def test_steps_after_a_prefix_equal_the_whole_sequence():
    steps_equal_the_whole(row77.build(TINY))


def test_the_prefix_sees_itself_and_nothing_sees_what_comes_later():
    layer = GatedSSM(TINY, bidirectional=True)
    initialize(layer, 0)
    prefix, length = 6, 11
    x = torch.randn(1, length, TINY.width, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v, prefix)[0][0].sum(-1), x)
    sees = jacobian[:, 0].abs().sum(-1) > 0
    place = torch.arange(length)
    expected = (place[None] <= place[:, None]) | ((place[None] < prefix) & (place[:, None] < prefix))
    assert torch.equal(sees, expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_layer_is_its_recurrence(bidirectional):
    """The rule of the paper's appendix A.4: behind the prefix nothing is kept by the channels that run backward."""
    layer = GatedSSM(TINY, bidirectional=bidirectional)
    initialize(layer, 0)
    prefix, length = 6, 11
    ahead = TINY.inner // 2 if bidirectional else TINY.inner
    x = torch.randn(2, length, TINY.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        forget, entry, value, gate = layer.enter(x).chunk(4, -1)
        keep, update = forget.sigmoid(), entry.sigmoid() * value
        back = keep[..., ahead:].clone()
        back[:, prefix:] = 0
        states = torch.zeros(2, length, TINY.inner)
        state = torch.zeros(2, ahead)
        for t in range(length):
            state = states[:, t, :ahead] = keep[:, t, :ahead] * state + update[:, t, :ahead]
        state = torch.zeros(2, TINY.inner - ahead)
        for t in reversed(range(length)):
            # The first position behind the prefix is what begins the generation: here, nothing.
            state = state * (t != prefix - 1)
            state = states[:, t, ahead:] = back[:, t] * state + update[:, t, ahead:]
        wanted = layer.out(states * torch.nn.functional.gelu(gate))
        torch.testing.assert_close(layer(x, prefix)[0], wanted, atol=1e-5, rtol=1e-4)


def test_a_state_has_no_positions():
    big = row77.CONFIGS["1.4b"]
    assert set(state_shapes(big).values()) == {str(big.inner), str(big.inner // 2)}
    with torch.no_grad():
        _, short = Network(TINY).prefill(torch.zeros(1, 3, dtype=torch.int64))
        _, long = Network(TINY).prefill(torch.zeros(1, 40, dtype=torch.int64))
    assert [state.shape for state in short] == [state.shape for state in long]


def test_cost_is_in_proportion_to_length():
    macs = {}
    for length in (16, 32):
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            Network(TINY).prefill(torch.zeros(1, length, dtype=torch.int64))
        macs[length] = flops.get_total_flops() // 2
    head = TINY.width * TINY.vocabulary  # of the last position only
    assert macs[32] - head == 2 * (macs[16] - head)
