"""Row 41: lengths that no weight knows, slots in any order, and torch's own LSTM with the same weights."""

import pytest
import torch

from edgepack.exporters.architectures.sequence import pointer_network as row41
from edgepack.exporters.architectures.sequence._pointer_network import Network, Point, Read

TINY = row41.CONFIGS["tiny"]


@pytest.fixture(scope="module")
def net():
    return Network(TINY).eval()


def test_both_lstms_are_torchs_own(net):
    x = torch.randn(2, 9, TINY.features, generator=torch.Generator().manual_seed(1))
    for cell in (net.encoder, net.decoder):
        public = torch.nn.LSTM(TINY.features, TINY.width, batch_first=True)
        with torch.no_grad():
            for theirs, ours in (("ih", cell.input), ("hh", cell.recurrent)):
                for kind in ("weight", "bias"):
                    getattr(public, f"{kind}_{theirs}_l0").copy_(getattr(ours, kind))
            state = (torch.zeros(2, TINY.width), torch.zeros(2, TINY.width))
            for element, expected in zip(x.unbind(1), public(x)[0].unbind(1), strict=True):
                state = cell(element, state)
                torch.testing.assert_close(state[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("length", "slots"), [(3, 3), (5, 50), (50, 500)])
def test_any_number_of_elements_in_any_number_of_slots(net, length, slots):
    elements = torch.rand(2, length, TINY.features, generator=torch.Generator().manual_seed(length))
    fed = torch.cat([torch.zeros(2, 1, TINY.features), elements[:, : length - 1]], 1)
    state = [torch.zeros(2, TINY.width)] * 2
    keys = torch.zeros(2, slots, TINY.width)
    with torch.no_grad():
        whole = net(elements, fed)
        for t in range(length):
            *state, keys = Read(net)(elements[:, t], torch.eye(slots)[t], *state, keys)
        for t in range(length):
            scores, *state = Point(net)(fed[:, t], *state, keys)
            torch.testing.assert_close(scores[:, :length], whole[:, t], atol=1e-5, rtol=1e-4)
            assert scores.shape == (2, slots)
    assert whole.shape == (2, length, length), "the output's alphabet is the input"


def test_an_answer_follows_its_element_to_another_slot(net):
    elements = torch.rand(1, 6, TINY.features, generator=torch.Generator().manual_seed(7))
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    zero = [torch.zeros(1, TINY.width)] * 2
    found = []
    with torch.no_grad():
        for places in (torch.arange(6), order):
            state, keys = zero, torch.zeros(1, 6, TINY.width)
            for t in range(6):
                *state, keys = Read(net)(elements[:, t], torch.eye(6)[places[t]], *state, keys)
            found.append(Point(net)(torch.zeros(1, TINY.features), *state, keys)[0])
    torch.testing.assert_close(found[1][:, order], found[0])
