"""Trained layers to packed ones: the same bits, and the same outputs to rounding."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from edgepack.quantize.binary import PackedLayer, convert, freeze, methods
from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.quantize.binary._sign import sign
from edgepack.toolchain.errors import SourceError, UsageError
from tests.quantize.binary.networks import Residual, images, layer, residual, train
from tests.quantize.binary.reference import bits


def trained(method: str, **options) -> Residual:
    model = convert(residual(), method, example_inputs=(images(),), **options)[0]
    train(model, images())
    return model


def seen(model: nn.Module, kind: type[nn.Module], inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every layer of a kind reads."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _m, read, name=name: found.update({name: read[0].detach()}))
        for name, module in model.named_modules()
        if isinstance(module, kind)
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("method", methods.names())
def test_a_frozen_network_has_the_bits_and_outputs_of_the_trained_one(method):
    model, inputs = trained(method), torch.randn(32, 3, 6, 6)
    frozen = freeze(model)
    assert not any(isinstance(module, BinaryLayer) for module in frozen.modules())
    for name, module in model.named_modules():
        if isinstance(module, BinaryLayer):
            signs = module.bits()[0].detach()
            last = signs.permute(0, 2, 3, 1) if signs.dim() == 4 else signs
            packed = layer(frozen, name).packed.numpy()
            np.testing.assert_array_equal(bits(packed, last.shape[-1]), last.numpy())
    trained_reads, frozen_reads = seen(model, BinaryLayer, inputs), seen(frozen, PackedLayer, inputs)
    assert trained_reads.keys() == frozen_reads.keys() == {"conv", "grouped", "linear"}
    for name, read in trained_reads.items():
        method_of, packed = layer(model, name).method, layer(frozen, name)
        shift = packed.geometry.per_channel(packed.shift)
        signs = method_of.activations(read)
        assert torch.equal(signs, sign(read + shift)), "the same input, the same bits"
        assert torch.equal(signs, sign(frozen_reads[name] + shift)), "and the same bits in the whole network"
    with torch.no_grad():
        torch.testing.assert_close(frozen(inputs), model(inputs), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("method", methods.names())
def test_without_folding_nothing_is_rounded_otherwise(method):
    model, inputs = trained(method), torch.randn(32, 3, 6, 6)
    frozen = freeze(model, fold_norms=False)
    assert not any(module.folded for module in frozen.modules() if isinstance(module, PackedLayer))
    with torch.no_grad():
        torch.testing.assert_close(frozen(inputs), model(inputs), rtol=1e-6, atol=1e-6)


def test_norms_are_folded_where_only_they_read_a_layer():
    frozen = freeze(trained("bnn"))
    assert layer(frozen, "conv").folded == ("norm2",)
    assert layer(frozen, "linear").folded == ("norm3",)
    assert layer(frozen, "grouped").folded == ()
    assert isinstance(frozen.norm3, nn.Identity)
    assert isinstance(frozen.norm1, nn.BatchNorm2d), "it stands behind a float layer"


def test_negative_and_zero_scales_of_a_norm_are_folded():
    model = trained("xnor-net")
    with torch.no_grad():
        model.norm2.weight[:20] *= -1
        model.norm2.weight[20:24] = 0
    inputs = torch.randn(32, 3, 6, 6)
    frozen = freeze(model)
    packed = layer(frozen, "conv")
    assert (packed.alpha[:20] < 0).all()
    assert (packed.alpha[20:24] == 0).all()
    assert torch.equal(packed.bias_after[20:24], model.norm2.bias[20:24])
    with torch.no_grad():
        torch.testing.assert_close(frozen(inputs), model(inputs), rtol=2e-5, atol=2e-5)


def test_a_norm_over_steps_of_a_sequence_is_not_folded():
    model = nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 2))
    model = convert(model, "bnn")[0]
    sequence = torch.randn(5, 64, 4)
    frozen = []
    for rank in (3, None, 2):
        frozen.append(copy.deepcopy(model))
        frozen[-1].train()(sequence if rank == 3 else sequence[0])
        layer(frozen[-1], "1").rank = rank
        norm = freeze(frozen[-1]).get_submodule("2")
        assert isinstance(norm, nn.Identity if rank == 2 else nn.BatchNorm1d)


def test_batch_statistics_are_not_folded():
    model = convert(
        nn.Sequential(
            nn.Linear(4, 64),
            nn.Linear(64, 64),
            nn.BatchNorm1d(64, track_running_stats=False),
            nn.Linear(64, 2),
        ),
        "bnn",
    )[0]
    x = torch.randn(6, 4)
    model(x)
    torch.testing.assert_close(freeze(model)(x), model.eval()(x))


def test_nothing_is_folded_into_a_layer_that_others_read_or_that_cannot_be_traced():
    class Twice(nn.Module):
        def __init__(self, *, branch: bool) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64)
            self.norm = nn.BatchNorm1d(64)
            self.branch = branch

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.b(self.a(x))
            if self.branch:
                return self.c(self.norm(y)) if y.sum() > 0 else self.c(self.norm(y)) * 2
            return self.c(self.norm(y) + y)

    for branch in (False, True):
        model = convert(Twice(branch=branch), "bnn")[0]
        x = torch.randn(6, 64)
        model(x)
        frozen = freeze(model)
        assert isinstance(frozen.norm, nn.BatchNorm1d)
        torch.testing.assert_close(frozen(x), model.eval()(x))


@pytest.mark.parametrize("size", [64, 65, 71, 100])
def test_any_number_of_inputs(size):
    model = convert(nn.Sequential(nn.Linear(4, size), nn.Linear(size, 33), nn.Linear(33, 10)), "reactnet")[0]
    train(model, torch.randn(8, 4))
    frozen = freeze(model)
    assert frozen[1].packed.shape == (33, (size + 7) // 8)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(frozen(x), model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize(("kernel", "padding"), [(4, "same"), ((2, 3), "same"), (3, "valid"), (5, (1, 2))])
def test_any_padding(kernel, padding):
    middle = nn.Conv2d(32, 16, kernel, padding=padding)
    model = convert(nn.Sequential(nn.Conv2d(3, 32, 1), middle, nn.Conv2d(16, 2, 1)), "bnn")[0]
    image = torch.randn(3, 7, 9)
    frozen = freeze(model)
    signs, weight = sign(model[0](image)), sign(middle.weight)
    expected = model[2](nn.functional.conv2d(signs, weight, middle.bias, padding=padding))
    torch.testing.assert_close(frozen(image), expected)
    torch.testing.assert_close(frozen(image[None])[0], expected)


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(UsageError, match=r"no binary layer to freeze. Call convert"):
        freeze(residual())
    model = trained("bnn")
    layer(model, "norm2").running_var[3] = torch.nan
    with pytest.raises(SourceError, match=r"NaN or infinity: conv \(alpha or bias after the norms"):
        freeze(model)
    layer(model, "conv").weight.data[0] = torch.inf
    with pytest.raises(SourceError, match=r"NaN or infinity: conv \(the model to freeze"):
        freeze(model)


@pytest.mark.parametrize("slope", [0.25, -0.5, 1.0, 1.5])
@pytest.mark.parametrize("shortcut", [True, False])
def test_a_frozen_rprelu_bends_where_the_trained_one_does(slope: float, shortcut: bool) -> None:
    """Its origin is in the layer's bias; a maximum takes PRelu's place where no slope is above 1."""
    from edgepack.quantize.binary._geometry import Geometry
    from edgepack.quantize.binary._methods.reactnet import RPReLU
    from edgepack.quantize.binary._shortcut import Shortcut

    geometry = Geometry.of(nn.Conv2d(8, 8, 3, padding=1))
    made = RPReLU(geometry, Shortcut(geometry) if shortcut else None, torch.float32)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        made.slope[1:3] = slope
        for parameter in (made.origin, made.target):
            parameter.copy_(torch.randn(8, generator=random))
        y, values = torch.randn(2, 2, 8, 5, 5, generator=random)
        y[0, :, 0, 0] = made.origin  # on the bend
        frozen = made.frozen()
        assert frozen.as_maximum == (shortcut and slope <= 1)
        got = frozen(y - geometry.per_channel(made.origin), values)
        torch.testing.assert_close(got, made(y, values), rtol=1e-6, atol=1e-6)
