"""Row 62: the count by the formula, and who sees whom."""

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.vision import illama
from edgepack.exporters.architectures.vision._illama import CausalAttention, Network

TINY = illama.CONFIGS["tiny"]
_PATCHES = TINY.tokens - 1


@pytest.mark.parametrize("name", ["tiny", "t16"])
def test_parameters_are_those_of_the_formula(name):
    assert architectures.get(illama.NAME).counted(name).parameters == illama.CONFIGS[name].parameters


def test_the_tiny_model_has_5_7_million():
    assert round(architectures.get(illama.NAME).counted("t16").parameters / 1e6, 1) == 5.7


@pytest.mark.parametrize("changed", range(0, _PATCHES, 5))
def test_values_reach_later_tokens_only_and_all_of_them_the_class_token(changed):
    net = Network(TINY).eval()
    with torch.no_grad():
        # Without queries and keys all weights are equal, and nothing but values goes from token to token.
        for module in net.modules():
            if isinstance(module, CausalAttention):
                module.qkv.weight[: 2 * TINY.width] = 0.0
        image = _image()
        other = image.clone()
        row, column = divmod(changed, TINY.size // TINY.patch)
        other[..., row * TINY.patch, column * TINY.patch] += 1.0
        moved = (net.tokens(other) - net.tokens(image))[0].abs().amax(-1)
    assert torch.equal(moved[:changed], torch.zeros(changed))
    assert (moved[changed:] > 1e-5).all()


def test_patches_are_told_apart_by_where_they_are():
    net = Network(TINY).eval()
    image = _image()
    with torch.no_grad():
        assert (net(image) - net(image.flip(-1))).abs().max() > 1e-3


def _image():
    return torch.rand(1, 3, TINY.size, TINY.size, generator=torch.Generator().manual_seed(1))
