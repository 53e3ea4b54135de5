"""Convolutional blocks: against torch's own operators and against what they say."""

import torch

from edgepack.exporters.architectures.blocks._convolution import ChannelMLP, ConvNorm, SqueezeExcite
from edgepack.exporters.architectures.blocks._image_norm import ImageNorm, PixelNorm
from edgepack.exporters.architectures.blocks._patches import PatchEmbed, image, tokens
from edgepack.exporters.architectures.blocks._pooling import AverageMixer, PooledClassifier
from edgepack.exporters.architectures.blocks._pyramid import Pyramid
from edgepack.exporters.architectures.blocks._statistics import give_biases, give_statistics

torch.manual_seed(0)
IMAGE = torch.randn(2, 6, 5, 7)


def test_stride_one_keeps_the_size_for_every_kernel_and_dilation():
    for kernel, dilation in [(1, 1), (3, 1), (3, 3), (5, 2)]:
        assert ConvNorm(6, 4, kernel, dilation=dilation)(IMAGE).shape == (2, 4, 5, 7)
    assert ConvNorm(6, 6, 3, stride=2, groups=6, activation=torch.relu)(IMAGE).shape == (2, 6, 3, 4)


def test_a_convolution_is_normalized_by_its_statistics():
    block = ConvNorm(6, 4, 3, activation=torch.relu).eval()
    give_statistics(block, 3)
    norm = block.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.abs().min() > 0
    mean, variance = norm.running_mean[:, None, None], norm.running_var[:, None, None]
    expected = (block.conv(IMAGE) - mean) / (variance + norm.eps).sqrt()
    expected = (expected * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()
    torch.testing.assert_close(block(IMAGE), expected)


def test_statistics_come_from_the_seed():
    first, again, other = (torch.nn.BatchNorm2d(4) for _ in range(3))
    for norm, seed in [(first, 1), (again, 1), (other, 2)]:
        give_statistics(norm, seed)
    assert torch.equal(first.running_var, again.running_var)
    assert not torch.equal(first.running_var, other.running_var)
    with torch.device("meta"):
        give_statistics(torch.nn.BatchNorm2d(4), 1)


def test_biases_come_from_the_seed_and_leave_statistics_alone():
    def made(seed):
        net = torch.nn.Sequential(ConvNorm(6, 4, 3), torch.nn.Conv2d(4, 4, 1), PixelNorm(4), ImageNorm(4))
        give_biases(net, seed)
        return {name: tensor for name, tensor in net.named_parameters() if tensor.ndim == 1}

    first, again, other = made(1), made(1), made(2)
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        assert torch.equal(tensor, other[name]) == name.startswith("0.norm")
        assert name.startswith("0.norm") or tensor.abs().min() > 0


def test_squeeze_and_excite_weighs_whole_channels():
    weighed = SqueezeExcite(6, 2)(IMAGE) / IMAGE
    torch.testing.assert_close(weighed, weighed[:, :, :1, :1].expand_as(IMAGE))
    assert (weighed > 0).all()
    assert (weighed < 1).all()


def test_the_channel_mlp_knows_one_pixel_only():
    block = ChannelMLP(6, 12)
    changed = IMAGE.clone()
    changed[:, :, 0, 0] += 1
    difference = (block(changed) - block(IMAGE)).abs().amax(1)
    assert (difference[:, 0, 0] > 0).all()
    assert difference.flatten(1)[:, 1:].max() == 0


def test_norms_are_those_of_their_definitions():
    flat = torch.nn.functional.layer_norm(IMAGE.flatten(1), (6 * 5 * 7,)).unflatten(1, (6, 5, 7))
    torch.testing.assert_close(ImageNorm(6)(IMAGE), flat)
    variance, mean = torch.var_mean(IMAGE, 1, keepdim=True, correction=0)
    torch.testing.assert_close(PixelNorm(6)(IMAGE), (IMAGE - mean) / (variance + 1e-6).sqrt())


def test_the_mixer_averages_what_is_inside_the_image():
    mixed = AverageMixer(3)(IMAGE) + IMAGE
    torch.testing.assert_close(mixed[..., 0, 0], IMAGE[..., :2, :2].mean((2, 3)))
    torch.testing.assert_close(mixed[..., 2, 3], IMAGE[..., 1:4, 2:5].mean((2, 3)))


def test_tokens_are_patches_row_by_row():
    embed = PatchEmbed(6, 8, 2)
    embedded = embed(IMAGE[..., :4, :6])
    sequence = tokens(embedded)
    assert sequence.shape == (2, 6, 8)
    torch.testing.assert_close(sequence[:, 4], embed(IMAGE[..., 2:4, 2:4])[..., 0, 0])
    assert torch.equal(image(sequence, 2, 3), embedded)
    assert PatchEmbed(6, 8, 3, 2, 1)(IMAGE).shape == (2, 8, 3, 4)


def test_a_pyramid_gives_every_level():
    shrink = [PatchEmbed(6, 8, 2), PatchEmbed(8, 4, 2)]
    pyramid = Pyramid(shrink, [[ChannelMLP(8, 8)], [ImageNorm(4), ChannelMLP(4, 8)]])
    levels = pyramid.levels(IMAGE)
    assert [tuple(level.shape) for level in levels] == [(2, 8, 2, 3), (2, 4, 1, 1)]
    assert torch.equal(pyramid(IMAGE), levels[-1])


def test_a_classifier_pools_all_pixels():
    head = PooledClassifier(6, 3, before=PixelNorm(6), after=torch.nn.LayerNorm(6))
    pooled = torch.nn.functional.layer_norm(PixelNorm(6)(IMAGE).mean((2, 3)), (6,))
    torch.testing.assert_close(head(IMAGE), head.classify(pooled))
    plain = PooledClassifier(6, 3)
    torch.testing.assert_close(plain(IMAGE), plain.classify(IMAGE.mean((2, 3))))
