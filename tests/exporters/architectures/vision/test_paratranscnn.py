"""Row 92: two encoders with levels of equal sizes, one of which sees the whole image and the other a part of it."""

import torch

from edgepack.exporters.architectures.vision import paratranscnn
from edgepack.exporters.architectures.vision._paratranscnn import ChannelAttention, Network

TINY = paratranscnn.CONFIGS["tiny"]


def test_both_encoders_have_levels_of_equal_sizes():
    with torch.device("meta"):
        config = paratranscnn.CONFIGS["synapse"]
        far, near = Network(config).eval().encoded(torch.empty(1, 3, config.size, config.size))
    assert [tuple(level.shape[1:]) for level in far] == [(320, 56, 56), (640, 28, 28), (1280, 14, 14)]
    assert [tuple(level.shape[1:]) for level in near] == [(128, 56, 56), (256, 28, 28), (512, 14, 14)]


def test_one_encoder_is_local_and_the_other_global():
    net = Network(TINY).eval()
    # So large that no convolution of the first level reaches from one end to the other.
    image = torch.rand(1, 3, 16, 256, generator=torch.Generator().manual_seed(1))
    other = image.clone()
    other[..., :8] += 1.0
    with torch.no_grad():
        moved = [
            (b[0] - a[0])[..., -1].abs().max()
            for a, b in zip(net.encoded(image), net.encoded(other), strict=True)
        ]
    assert moved[0] > 1e-5
    assert moved[1] == 0


def test_channel_attention_weighs_channels_and_not_pixels():
    attention = ChannelAttention(8, 2)
    x = torch.rand(1, 8, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.5
    with torch.no_grad():
        attention.squeeze.weight.fill_(0.3)
        attention.excite.weight.copy_(torch.linspace(-1, 1, 16).reshape(8, 2, 1, 1))
        weight = attention(x) / x
    torch.testing.assert_close(weight, weight[..., :1, :1].expand_as(weight))
    assert weight.min() > 0
    assert weight.max() < 1
    assert weight.std() > 1e-3
