"""A frozen module and its file agree in ONNX Runtime: every bit, whoever computes the native operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgepack.quantize.binary import PackedLayer, convert, freeze
from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._operator import signs_of
from tests.quantize.binary.artifacts import FORMS, exposed, run, written
from tests.quantize.binary.networks import images, residual, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]
GEOMETRIES = {
    "3x3": Geometry(17, 40, (3, 3), pads=(1, 1, 1, 1)),
    "groups, strides": Geometry(32, 40, (3, 2), (2, 1), (1, 0, 0, 1), groups=2),
    "dilations": Geometry(16, 40, (3, 3), pads=(2, 2, 2, 2), dilations=(2, 2)),
    "1x1": Geometry(33, 40, (1, 1)),
}


def packed(geometry: Geometry, shift: torch.Tensor | None) -> PackedLayer:
    shape = (geometry.outputs, geometry.inputs // geometry.groups, *(geometry.kernel or ()))
    alpha, bias = torch.randn(2, geometry.outputs)
    return PackedLayer(geometry, torch.where(torch.randn(shape) < 0, -1.0, 1.0), alpha, bias, shift)


class Layers(nn.Module):
    """Convolutions and linear layers on one image each, and two of them with borders of -1."""

    def __init__(self, shift: torch.Tensor) -> None:
        super().__init__()
        layers = [packed(geometry, s) for geometry in GEOMETRIES.values() for s in (None, shift)]
        bordered = packed(GEOMETRIES["3x3"], shift)
        bordered.pads_with = -1.0
        self.convolutions = nn.ModuleList([*layers, bordered])
        self.linears = nn.ModuleList(packed(Geometry(21, 77), s) for s in (None, torch.randn(77)))

    def forward(self, image: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (*(one(image) for one in self.convolutions), *(one(rows) for one in self.linears))


def awkward(shape: tuple[int, ...], thresholds: torch.Tensor) -> torch.Tensor:
    """Values at and beside the thresholds, both zeros, the smallest numbers, infinities, NaN."""
    values = torch.randn(shape)
    special = torch.tensor([0.0, -0.0, 1e-45, -1e-45, torch.inf, -torch.inf, torch.nan])
    at = torch.randperm(values.numel())
    values.view(-1)[at[: 7 * 20]] = special.repeat(20)
    there = (-thresholds).expand(shape)
    for share, toward in ((0.25, None), (0.5, torch.inf), (0.75, -torch.inf)):
        near = there if toward is None else torch.nextafter(there, torch.tensor(toward))
        chosen = (torch.rand(shape) < 0.1) & (torch.rand(shape) < share)
        values = torch.where(chosen, near, values)
    return values


def test_layers_agree_in_every_bit(library, tmp_path):
    torch.manual_seed(0)
    shift = torch.randn(40)
    module = Layers(shift).eval()
    image, rows = awkward((2, 40, 7, 6), shift[:, None, None]), awkward((5, 77), module.linears[1].shift)
    path = written(module, (image, rows), tmp_path / "layers.onnx")
    with torch.no_grad():
        expected = [value.numpy() for value in module(image, rows)]
    for native in FORMS.values():
        found = run(path, (image.numpy(), rows.numpy()), native=native)
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            # A runtime may multiply a convolution's weights by alpha beforehand, and then rounds otherwise.
            exact = native or index >= len(module.convolutions)
            np.testing.assert_allclose(one, other, rtol=0, atol=0 if exact else 1e-4)


@pytest.mark.parametrize("method", ["dorefa", "reactnet"])
def test_a_network_reads_the_same_bits(method, library, tmp_path):
    model = convert(residual(), method)[0]
    train(model, images())
    frozen = freeze(model)
    inputs = images(32)
    path = written(frozen, (inputs,), tmp_path / "network.onnx")
    names = exposed(path, tmp_path / "exposed.onnx")
    read: list[torch.Tensor] = []
    layers = [layer for layer in frozen.modules() if isinstance(layer, PackedLayer)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda one, given: read.append(bordered(one, given[0])))
    with torch.no_grad():
        expected = frozen(inputs).numpy()
    assert len(names) == len(read) == 3
    for native in FORMS.values():
        output, *found = run(tmp_path / "exposed.onnx", [inputs.numpy()], native=native)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
        for layer, one, other in zip(layers, found, read, strict=True):
            shift = layer.geometry.per_channel(layer.shift)
            assert torch.equal(signs_of(torch.from_numpy(one), shift), signs_of(other, shift))


def bordered(layer: PackedLayer, values: torch.Tensor) -> torch.Tensor:
    """What the operator reads: the layer's input with the border that a Pad gives it."""
    return layer.geometry.padded(values, layer.pads_with) if layer.pads_with else values
