"""Which layers become binary, and why the others do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgepack.quantize.binary import after_step, convert, methods, progress
from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.toolchain.errors import SourceError, UnknownNameError, UsageError
from tests.quantize.binary.networks import images, layer, residual, train


def stack(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 64, 1), *middle, nn.Flatten(), nn.LazyLinear(4))


def reason(middle: nn.Module, **options) -> str | None:
    """What the report says of a layer between two others."""
    model = stack(nn.Conv2d(64, 64, 1), middle)
    model(torch.zeros(2, 3, 6, 6))
    return convert(model, "bnn", **options)[1].kept.get("2")


@pytest.mark.parametrize("method", methods.names())
def test_every_method_trains_a_residual_network(method):
    network = residual()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model, report = convert(network, method)
    assert report.binary == ("conv", "grouped", "linear")
    assert report.kept == dict.fromkeys(("first", "last"), "the first and the last layer stay float")
    losses = train(model, images(), steps=8)
    assert losses[-1] < losses[0]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), "the given model is not changed"


@pytest.mark.parametrize("method", methods.names())
def test_every_parameter_of_a_binary_layer_is_trained(method):
    model, _ = convert(residual(), method)
    train(model, images())  # some start from zeros, which keep others from learning
    progress(model, 0)  # at the end of its schedule FDA's noise has no share in the gradients
    model.train()(images()).square().sum().backward()
    binary = [name for name, module in model.named_modules() if isinstance(module, BinaryLayer)]
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(binary)):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("middle", "text"),
    [
        (nn.Conv2d(64, 64, 3, groups=64), "too small to gain: 1 channels a group (from 32 on)"),
        (nn.Conv2d(64, 64, 1, groups=2), "too small to gain: sums of 32 (from 64 on)"),
        (nn.Conv2d(64, 8, 1), "too small to gain: 8 outputs (from 16 on)"),
        (nn.Conv2d(64, 64, 3, dilation=2), None),
        (
            nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
            "the operator pads with zeros, not reflect",
        ),
        (nn.Conv2d(64, 64, 3, padding=1), None),
    ],
)
def test_a_layer_that_would_not_gain_or_cannot_be_run_stays_float(middle, text):
    assert reason(middle) == text


@pytest.mark.parametrize(
    ("rows", "text"),
    [(1, "too small to gain: 4096 products for the example (from 8192 on)"), (2, None)],
)
def test_an_example_tells_what_is_too_small_for_its_rows(rows, text):
    model = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 64), nn.Linear(64, 64), nn.Linear(64, 10))
    _, report = convert(model, "bnn", example_inputs=(torch.zeros(rows, 64),))
    assert report.kept.get("2") == text
    assert "1" not in report.kept


def test_what_is_asked_to_stay_stays():
    assert reason(nn.Conv2d(64, 64, 1), keep=["2"]) == "asked for"


def test_shared_weights_and_projections_of_torchs_attention_stay():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(70, 64)
            self.before = nn.Linear(64, 64)
            self.attention = nn.MultiheadAttention(64, 2)
            self.middle = nn.Linear(64, 64)
            self.tied = nn.Linear(64, 70, bias=False)
            self.tied.weight = self.table.weight
            self.end = nn.Linear(70, 2)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.before(self.table(tokens))
            x = self.attention(x, x, x)[0]
            return self.end(self.tied(self.middle(x)))

    _, report = convert(Tied(), "bnn")
    assert report.binary == ("before", "middle"), "the embedding is the first layer"
    assert report.kept["tied"] == "its weight is shared (table.weight, tied.weight)"
    assert "NonDynamicallyQuantizableLinear" in report.kept["attention.out_proj"]


def test_the_ends_are_found_in_the_order_of_calls():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.b, self.a = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.a(self.b(x)))

    assert convert(Backwards(), "bnn")[1].binary == ("a",)


def test_a_relu_that_only_a_binary_layer_reads_is_taken_out():
    network = nn.Sequential(
        *(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 4)),
    )
    model, report = convert(network, "bnn")
    assert isinstance(model[1], nn.Identity)
    assert isinstance(model[4], nn.ReLU), "a float layer reads it"
    assert "1 taken out" in report.layers[1].notes[0]


def test_a_relu_that_others_read_stays_and_is_warned_of():
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(64, 64) for _ in range(3))
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.relu(self.a(x))
            return self.c(self.b(x) + x)

    model, report = convert(Read(), "bnn")
    assert isinstance(model.relu, nn.ReLU)
    assert "without a shift its bits are all +1" in report.layers[1].notes[0]


def test_torchs_fused_transformer_layer_does_not_pass_by_the_bits():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(64, 2, 128, dropout=0, batch_first=True)
    model, report = convert(nn.Sequential(nn.Linear(64, 64), encoder, nn.Linear(64, 64)), "bnn")
    assert report.binary == ("1.linear1", "1.linear2")
    x = torch.randn(2, 5, 64)
    with_gradients = model.eval()(x)
    with torch.no_grad():
        torch.testing.assert_close(model(x), with_gradients)


def test_a_second_conversion_leaves_binary_layers_alone():
    model, _ = convert(residual(), "fda", keep=["grouped"])
    again, report = convert(model, "bnn")
    assert report.binary == ("grouped",)
    assert sorted(report.kept) == ["first", "last"]
    assert layer(again, "conv").method.name == "fda"


def test_a_methods_options_are_the_layers_own():
    model, _ = convert(residual(), "recu", tau=0.9)
    progress(model, 1)
    assert layer(model, "conv").method.tau == 0.9
    with pytest.raises(UsageError, match=r"cannot be done to 1\.5"):
        progress(model, 1.5)


def test_weights_are_clipped_after_a_step_where_the_method_says_so():
    for method in ("bnn", "reactnet"):
        model, _ = convert(residual(), method)
        layer(model, "conv").weight.data.fill_(3)
        layer(model, "first").weight.data.fill_(3)
        after_step(model)
        assert (layer(model, "conv").weight == (1 if method == "bnn" else 3)).all()
        assert (layer(model, "first").weight == 3).all()


def test_what_cannot_be_done_is_said_in_one_sentence():
    model = stack(nn.Conv2d(64, 64, 1))
    model(torch.zeros(1, 3, 2, 2))
    with pytest.raises(
        UnknownNameError, match=r"Unknown method of binarization 'reactnett'.*Did you mean 'reactnet'"
    ):
        convert(model, "reactnett")
    with pytest.raises(UnknownNameError, match=r"Unknown layer '11' \(keep\)"):
        convert(model, "bnn", keep=["11"])
    with pytest.raises(UnknownNameError, match=r"Unknown option of bnn 'frequency'"):
        convert(model, "bnn", frequency=3)
    with pytest.raises(UsageError, match=r"No layer of the model can become binary.*1: asked for"):
        convert(model, "bnn", keep=["1"])
    with pytest.raises(UsageError, match=r"train in float32, and a weight is float16 \(0\)"):
        convert(model.half(), "bnn")
    layer(model.float(), "1").weight.data[3, 2] = torch.nan
    with pytest.raises(SourceError, match="NaN or infinity: 1"):
        convert(model, "bnn")
