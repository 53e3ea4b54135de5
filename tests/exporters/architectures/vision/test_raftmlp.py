"""Row 45: what the mixers mix, and weights that are interpolated to other image sizes."""

import pytest
import torch

from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.vision import raftmlp as row45
from edgepack.exporters.architectures.vision._raftmlp import HORIZONTAL, VERTICAL, RaftMixer, RaftMLPNet

RAFT, GROUPS = 2, 3


def mixer(length, axis, seed=1):
    made = RaftMixer(length, RAFT, 2, axis)
    initialize(made, seed)
    return made


@pytest.mark.parametrize("axis", [VERTICAL, HORIZONTAL])
def test_a_mixer_reaches_its_column_and_its_raft_and_nothing_else(axis):
    x = torch.randn(1, RAFT * GROUPS, 5, 5)
    changed = x.clone()
    changed[0, 1, 2, 3] += 1  # group 1
    net = mixer(5, axis)
    with torch.no_grad():
        reached = (net(changed) - net(x))[0].abs() > 1e-6
    expected = torch.zeros(RAFT * GROUPS, 5, 5, dtype=torch.bool)
    for channel in (1, 1 + GROUPS):
        if axis == VERTICAL:
            expected[channel, :, 3] = True
        else:
            expected[channel, 2, :] = True
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("axis", [VERTICAL, HORIZONTAL])
@pytest.mark.parametrize("length", [24, 48])
def test_interpolated_weights_do_the_same_to_the_same_smooth_image(axis, length):
    def picture(size):
        place = (torch.arange(size) + 0.5) / size
        wave = torch.stack([torch.cos(torch.pi * (c + 1) * place / 2) for c in range(RAFT * GROUPS)])
        image = wave[:, :, None] if axis == VERTICAL else wave[:, None, :]
        return image.expand(-1, size if axis == VERTICAL else 4, 4 if axis == VERTICAL else size)[None]

    net = mixer(16, axis)
    with torch.no_grad():
        before = net(picture(16))
        net.resize(length)
        after = net(picture(length))
        size = (length, 4) if axis == VERTICAL else (4, length)
        expected = torch.nn.functional.interpolate(before, size, mode="bicubic", align_corners=False)
        distance = (after - expected).norm() / expected.norm()
        initialize(net, 2)
        unrelated = (net(picture(length)) - expected).norm() / expected.norm()
    assert distance < 0.02
    assert unrelated > 0.5


def test_the_same_size_changes_no_weight():
    net = RaftMLPNet(row45.CONFIGS["tiny"])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.resize(row45.CONFIGS["tiny"].image)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], msg=name)


def test_another_image_size_has_the_same_channels_and_other_columns():
    config = row45.CONFIGS["tiny-48"]
    net = RaftMLPNet(config).eval()
    assert config.sides(48) == [12, 6]
    lengths = [module.mlp.up.in_channels // RAFT for module in net.modules() if isinstance(module, RaftMixer)]
    assert lengths == [12, 12, 6, 6]
    with torch.no_grad():
        assert net(torch.randn(2, 3, 48, 48)).shape == (2, config.classes)
