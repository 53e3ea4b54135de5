"""Row 69: one pass over the whole image costs what its pixels cost, and takes images of any size."""

from dataclasses import replace

import pytest
import torch

from edgepack.exporters.architectures._counting import counted
from edgepack.exporters.architectures.vision import freenet
from edgepack.exporters.architectures.vision._freenet import Network

TINY = freenet.CONFIGS["tiny"]


def _macs(height, width):
    macs = counted(lambda: freenet._whole(replace(TINY, height=height, width=width))).macs
    assert macs is not None
    return macs


def test_a_pass_costs_its_pixels_and_a_patch_for_every_pixel_their_area_more():
    whole = _macs(64, 64)
    # Spectral attention's two products are over channels only: the whole's few of them make it cheaper still.
    assert whole == pytest.approx(4 * _macs(32, 32), rel=0.01)
    assert _macs(8, 8) * 64 * 64 / whole == pytest.approx(64, rel=0.02)


def test_far_pixels_matter_through_means_of_the_whole_image():
    net = Network(TINY).eval()
    image = torch.rand(1, TINY.bands, 256, 16, generator=torch.Generator().manual_seed(1))
    other = image.clone()
    other[..., :16, :] += 1.0
    with torch.no_grad():
        moved = (net(other) - net(image)).abs().amax((0, 1))
    # Farther than all convolutions reach: 2 x (1 + 1 + 2 + 2 + 4 + 4 + 8) in the encoder, 15 in the decoder.
    assert moved[-1].min() > 1e-6


@pytest.mark.parametrize("size", [(32, 48), (21, 18), (9, 50)])
def test_every_pixel_of_an_image_of_any_size_has_probabilities(size):
    with torch.no_grad():
        found = Network(TINY).eval()(torch.rand(1, TINY.bands, *size))
    assert found.shape == (1, TINY.classes, *size)
    torch.testing.assert_close(found.sum(1), torch.ones(1, *size))
