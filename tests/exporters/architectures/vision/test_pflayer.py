"""Row 25: what a pooled layer saves beside a learned one, counted."""

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.vision import pflayer as row25
from edgepack.exporters.architectures.vision._pflayer import MaxMixer, spatial

WIDTHS, DEPTHS = (64, 128, 256, 512), (3, 4, 6, 3)


def test_the_depthwise_counterpart_has_its_kernels_and_norms_more():
    one = architectures.get(row25.NAME)
    pooled, learned = one.counted("r50-max"), one.counted("r50-depthwise")
    kernels = sum(width * depth for width, depth in zip(WIDTHS, DEPTHS, strict=True))
    assert learned.parameters - pooled.parameters == (9 + 2) * kernels
    sides = (56, 28, 14, 7)
    macs = sum(9 * w * d * side**2 for w, d, side in zip(WIDTHS, DEPTHS, sides, strict=True))
    assert pooled.macs is not None
    assert learned.macs is not None
    assert learned.macs - pooled.macs == macs


@pytest.mark.parametrize("kind", ["max", "hybrid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_pooled_layers_learn_nothing_where_the_size_stays(kind, stride):
    layer = spatial(kind, 4, stride)
    assert bool(list(layer.parameters())) == (kind == "hybrid" and stride == 2)
    assert layer(torch.randn(1, 4, 8, 8)).shape == (1, 4, 8 // stride, 8 // stride)


def test_the_mixer_of_a_transformer_reaches_neighbouring_patches_only():
    mixer = MaxMixer(4, 5)
    x = torch.randn(1, 25, 4)
    changed = x.clone()
    changed[0, 12] += 5  # the patch in the middle
    with torch.no_grad():
        reached = (mixer(changed) - mixer(x))[0].abs().amax(1).reshape(5, 5) > 0
    assert reached[1:4, 1:4].any()
    reached[1:4, 1:4] = False
    assert not reached.any()


def test_every_other_block_pools():
    net = architectures.get(row25.NAME).build(row25.CONFIGS["tiny-transformer"]).parts["main"].module
    assert [isinstance(block.mixer, MaxMixer) for block in net.blocks] == [False, True]
