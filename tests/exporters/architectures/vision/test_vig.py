"""Row 87: what patches see, what the directions share, and what more pixels cost."""

import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.vision import vig as row87
from edgepack.exporters.architectures.vision._vig import Mixer, Network

TINY = row87.CONFIGS["tiny"]


def test_every_patch_sees_every_other():
    mixer = Network(TINY).blocks[0].mixer.eval()
    x = torch.randn(1, TINY.side**2, TINY.width, generator=torch.Generator().manual_seed(1))
    seen = torch.autograd.functional.jacobian(lambda v: mixer(v)[0].sum(-1), x)[:, 0].abs().sum(-1)
    assert (seen > 0).all()


def test_directions_differ_by_their_decays_only():
    mixer = Mixer(TINY)
    initialize(mixer, 0)
    keys = TINY.keys
    with torch.no_grad():
        mixer.near.weight.zero_()
        mixer.near.weight[:, 0, 1, 1] = 1.0  # no neighbours in two dimensions
        gates = mixer.decay[1]
        assert isinstance(gates, torch.nn.Linear)
        gates.weight[keys:], gates.bias[keys:] = gates.weight[:keys].clone(), gates.bias[:keys].clone()
        x = torch.randn(1, TINY.side**2, TINY.width, generator=torch.Generator().manual_seed(2))
        # With equal decays a reversed sequence gives the reversed answer, and with others it does not.
        torch.testing.assert_close(mixer(x.flip(1)).flip(1), mixer(x), atol=1e-5, rtol=1e-4)
        gates.bias[keys:] -= 5.0
        assert (mixer(x.flip(1)).flip(1) - mixer(x)).abs().max() > 1e-3


def test_the_cost_is_linear_in_patches():
    found = architectures.get(row87.NAME)
    few, many = found.counted("vig-t").macs, found.counted("vig-t-1024").macs
    patches = (row87.CONFIGS["vig-t-1024"].side / row87.CONFIGS["vig-t"].side) ** 2
    assert few is not None
    assert many is not None
    assert many / few < 1.1 * patches
