"""Row 33: a transform that is exact and loses nothing, and a cost that is linear in pixels."""

import functools
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from edgepack.exporters._worker import export_model
from edgepack.exporters.architectures._building import one_part
from edgepack.exporters.architectures._counting import counted
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._wavelet import HaarTransform
from edgepack.exporters.architectures.vision import wavemix as row33
from edgepack.exporters.architectures.vision._wavemix import WaveMixNet
from edgepack.toolchain.program import Program

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 12)).astype(np.float32)


def test_bands_are_those_of_their_definition():
    low, high = HaarTransform(3)(torch.from_numpy(PIXELS))
    a, b, c, d = (PIXELS[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    np.testing.assert_array_equal(low, (a + b + c + d) / 2)
    vertical, horizontal, diagonal = high.chunk(3, 1)
    np.testing.assert_array_equal(vertical, (a + b - c - d) / 2)
    np.testing.assert_array_equal(horizontal, (a - b + c - d) / 2)
    np.testing.assert_array_equal(diagonal, (a - b - c + d) / 2)


def test_the_transform_has_no_parameters_and_keeps_the_energy():
    haar = HaarTransform(3)
    assert not list(haar.parameters())
    low, high = haar(torch.from_numpy(PIXELS))
    energy = low.double().square().sum() + high.double().square().sum()
    assert energy.item() == np.square(PIXELS.astype(np.float64)).sum()


class ThereAndBack(torch.nn.Module):
    """The transform's bands, and the image that they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.haar = HaarTransform(3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        low, high = self.haar(x)
        return low, high, self.haar.inverse(low, high)


@pytest.mark.slow
def test_the_exported_transform_is_exact_and_loses_nothing(tmp_path):
    names = ["low", "high", "again"]
    export_model(
        one_part("haar", ThereAndBack(), "test", "x:float32[batch=2,3,8,12]", outputs=names), tmp_path
    )
    (part,) = Program.load(tmp_path)
    session = onnxruntime.InferenceSession(part.path)
    low, high, again = session.run(names, {"x": PIXELS})
    np.testing.assert_array_equal(again, PIXELS)
    expected = HaarTransform(3)(torch.from_numpy(PIXELS))
    np.testing.assert_array_equal(low, expected[0])
    np.testing.assert_array_equal(high, expected[1])


def test_the_cost_is_linear_in_pixels():
    one = architectures.get(row33.NAME)
    config = row33.CONFIGS["192-16"]
    head = config.width * config.classes
    sizes = (32, 64, 128, 256)
    macs = []
    for size in sizes:
        whole = functools.partial(one.whole, replace(config, image=size))
        macs.append((counted(whole).macs or 0) - head)
    assert [cost / macs[0] for cost in macs] == [(size / sizes[0]) ** 2 for size in sizes]


def test_a_segmenter_scores_every_pixel():
    config = row33.CONFIGS["tiny-segmenter"]
    with torch.no_grad():
        assert WaveMixNet(config).eval()(torch.randn(2, 3, 32, 32)).shape == (2, config.classes, 32, 32)
