"""Row 48: weights spread over the blocks, and frames that come back from what the encoder made of them."""

from dataclasses import replace

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.vision import hnerv
from edgepack.exporters.architectures.vision._hnerv import Decoder, Encoder, Video, record, scene
from edgepack.exporters.architectures.vision.hnerv import NeuralVideo

TINY = hnerv.CONFIGS["tiny"]
BUNNY = hnerv.CONFIGS["bunny-1.5m"]


def _weights(config: NeuralVideo) -> list[int]:
    with torch.device("meta"):
        blocks = Decoder(config).blocks
        return [
            module.weight.numel()
            for block in blocks
            for module in block.modules()
            if isinstance(module, torch.nn.Conv2d)
        ]


def test_weights_spread_evenly_where_those_of_nerv_are_in_its_first_block():
    even = _weights(BUNNY)
    nerv = _weights(replace(BUNNY, strides=(5, 4, 2, 2), kernels=(3, 3, 3, 3), reduction=2.0, least=1))
    assert max(even) / min(even) < 9
    assert max(nerv) / min(nerv) > 100
    assert nerv[0] / sum(nerv) > 0.8
    assert sum(even[2:]) / sum(even) > 0.6


@pytest.mark.parametrize("block", range(5))
def test_a_block_has_the_weights_of_the_formula(block):
    by_formula = (
        BUNNY.channels**2 * 1.2 ** -(2 * block + 1) * BUNNY.strides[block] ** 2 * min(1 + 2 * block, 5) ** 2
    )
    assert _weights(BUNNY)[block] == pytest.approx(by_formula, rel=0.04)


def test_the_embeddings_are_a_small_part_of_the_video():
    counted = architectures.get(hnerv.NAME).counted("bunny-1.5m")
    rows, columns = BUNNY.grid
    assert (rows, columns) == (2, 4)
    assert BUNNY.frames * BUNNY.embedding * rows * columns < 0.02 * counted.parameters


def test_frames_of_different_content_have_different_embeddings_and_come_back_different():
    encoder, video = Encoder(TINY).eval(), Video(TINY).eval()
    record(video, encoder, TINY)
    with torch.no_grad():
        index = torch.arange(TINY.frames)
        frames = scene(TINY, index)
        torch.testing.assert_close(video.embeddings(index), encoder(frames))
        decoded = video(index)
    assert decoded.shape == frames.shape == (TINY.frames, 3, TINY.height, TINY.width)
    assert (decoded[0] - decoded[-1]).abs().max() > 1e-2
    assert decoded.min() > 0
    assert decoded.max() < 1
