"""Row 05: where attention stands, what the two kinds of blocks cost, and what the denoiser reads."""

import pytest
import torch

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.vision import ascan
from edgepack.exporters.architectures.vision._ascan import ConvBlock, DenoiserNetwork, TokenBlock

SMALL, TINY = ascan.CONFIGS["small"], ascan.CONFIGS["tiny"]


@pytest.mark.parametrize("config", [SMALL, TINY])
def test_convolutions_come_early_and_transformers_late(config):
    for stages in (config.classifier.stages, config.denoiser.stages):
        shares = [stage.count("T") / len(stage) for stage in stages]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] > 0
    assert config.classifier.stages[1].count("T") == 0
    assert set(config.classifier.stages[-1]) == {"T"}


@pytest.mark.parametrize(("rows", "width"), [(56, 64), (7, 512)])
def test_blocks_cost_what_the_formulas_say(rows, width):
    def macs(block):
        return counted(lambda: Whole(block(), (torch.empty(1, width, rows, rows),))).macs

    pixels = rows * rows
    convolution, attention = macs(lambda: ConvBlock(width)), macs(lambda: TokenBlock(width, width // 32))
    assert convolution == 40 * pixels * width**2
    assert attention == 12 * pixels * width**2 + 2 * pixels**2 * width
    # The reason for the asymmetry: each is the cheaper one where it stands.
    assert (convolution < attention) == (rows == 56)


def test_the_denoiser_reads_latents_step_and_text():
    net = DenoiserNetwork(TINY.denoiser).eval()
    draw = torch.Generator().manual_seed(1)
    size = TINY.denoiser.size
    latents = torch.randn(1, TINY.denoiser.channels, size, size, generator=draw)
    text = torch.randn(1, TINY.denoiser.words, TINY.denoiser.text_width, generator=draw)
    step = torch.tensor([500.0])
    with torch.no_grad():
        noise = net(latents, step, text)
        assert noise.shape == latents.shape
        for other in (
            net(latents + 0.1, step, text),
            net(latents, step + 100, text),
            net(latents, step, text.flip(-1)),
        ):
            assert (other - noise).abs().max() > 1e-4
