"""Row 59: its size, and that the mixer in real numbers is the one in complex numbers."""

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.vision import spartan as row59
from edgepack.exporters.architectures.vision._spartan import ChannelMixer, SpatialMixer


def test_about_one_billion_multiplications():
    counted = architectures.get(row59.NAME).counted("t")
    assert counted.macs is not None
    assert round(counted.macs / 1e9, 1) == 1.0


def test_waves_are_turned_as_complex_numbers():
    mixer = ChannelMixer(8, 4, depthwise=True)
    initialize(mixer, 3)
    x = torch.randn(2, 8, 3, 5)
    with torch.no_grad():
        mixer.turn.copy_(torch.randn_like(mixer.turn))
        # Parts side by side, as pairs: the channel's number is that of the projections' rows.
        pairs = torch.arange(32).reshape(2, 16).T.reshape(-1)
        phase = torch.nn.functional.gelu(mixer.phase(x))[:, pairs]
        amplitude = mixer.amplitude(x)[:, pairs]
        strongest = x.argmax(1, keepdim=True)
        wave = amplitude * phase + amplitude.gather(1, strongest) * phase.gather(1, strongest)
        waves = torch.complex(wave[:, 0::2], wave[:, 1::2])
        turned = waves * torch.complex(mixer.turn[0], mixer.turn[1])[:, None, None]
        mixed = mixer.own(torch.cat([turned.real, turned.imag], 1))
        expected = mixer.join(mixer.weigh(torch.nn.functional.gelu(mixer.norm.eval()(mixed))))
        torch.testing.assert_close(mixer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depthwise", [True, False])
def test_the_far_kernel_reaches_four_pixels_in_every_direction(depthwise):
    mixer = SpatialMixer(8, depthwise=depthwise).eval()
    initialize(mixer, 1)
    x = torch.randn(1, 4, 13, 13)
    changed = x.clone()
    changed[..., 6, 6] += 1
    with torch.no_grad():
        far = (mixer.far(mixer.far_first(changed)) - mixer.far(mixer.far_first(x)))[0].abs().amax(0) > 0
        near = (mixer.near(changed) - mixer.near(x))[0].abs().amax(0) > 0
    expected = torch.zeros(13, 13, dtype=torch.bool)
    expected[2:11:2, 2:11:2] = True
    assert torch.equal(far, expected)
    assert near.sum() == 9
    assert near[5:8, 5:8].all()
