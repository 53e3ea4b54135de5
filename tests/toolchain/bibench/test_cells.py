"""Corruptions, counts and the rules of a cell, each against what its formula says."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgepack.quantize.binary import convert, freeze
from edgepack.toolchain.bibench.cells import complexity, training
from edgepack.toolchain.bibench.cells.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from edgepack.toolchain.bibench.cells.inputs import Shape
from edgepack.toolchain.bibench.cells.networks import BODIES, network
from edgepack.toolchain.bibench.cells.tasks import TASKS
from tests.toolchain.bibench.tables import cell


@pytest.fixture
def pictures(photos) -> torch.Tensor:
    """Real photographs, grey, 28 x 28, from 0 to 1."""
    small = [
        nn.functional.interpolate(torch.tensor(photo).float().mean(2)[None, None], size=28, mode="area")
        for photo in photos
    ]
    return torch.cat(small) / 255


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(name, pictures):
    changes = []
    for severity in SEVERITIES:
        image = corrupted(name, pictures, severity)
        assert image.shape == pictures.shape
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
        assert torch.equal(image, corrupted(name, pictures, severity)), "the same seed, the same noise"
        changes.append(float((image - pictures).abs().mean()))
    assert changes[0] > 0.003
    assert changes == sorted(changes)
    assert changes[-1] > 1.5 * changes[0]


def test_counts_of_a_network_by_hand():
    torch.manual_seed(0)
    float_network = nn.Sequential(
        nn.Conv2d(3, 64, 1, bias=False), nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.Flatten(),
        nn.Linear(64 * 16, 10),
    )  # fmt: skip
    one = torch.zeros(1, 3, 4, 4)
    model, report = convert(float_network, "xnor-net")
    found = complexity.count(float_network, freeze(model.eval()), report.binary, one)
    on_bits, floats = 64 * 9 * 64 * 16, 3 * 64 * 16 + 64 * 16 * 10
    assert (found.binary_macs, found.float_macs) == (on_bits, floats)
    assert found.operation_ratio == pytest.approx((on_bits + floats) / (on_bits / 64 + floats))
    others = 3 * 64 + 64 * 16 * 10 + 10
    added = 64 * 3  # alpha, the operator's bias, and the one behind the scales
    assert found.binary_weights == 64 * 64 * 9
    assert found.float_parameters == pytest.approx(others + added, abs=9), (
        "and the averaging kernel, if it is kept"
    )
    alone = complexity.count(float_network, None, (), one)
    assert (alone.operation_ratio, alone.storage_ratio) == (1, 1)
    assert alone.float_parameters == others + 64 * 64 * 9


def test_saved_bytes_are_those_of_a_step():
    torch.manual_seed(0)
    layer = nn.Linear(8, 4, bias=False)
    inputs, labels = torch.randn(16, 8), torch.zeros(16, dtype=torch.long)
    took = training.train(layer, inputs, labels, steps=3, batch=5, rate=0.01, seed=0)
    rows, scores, classes, weights = 5 * 8 * 4, 5 * 4 * 4, 5 * 8, 4 * (4 * 8 * 4)
    least = rows + scores + classes + weights
    assert least <= took.bytes <= least + 64, "log-probabilities, labels, inputs; cross-entropy keeps a sum"


@pytest.mark.parametrize("steps", range(1, 12))
def test_a_training_may_be_as_short_as_one_batch(steps):
    layer = nn.Linear(8, 4)
    inputs, labels = torch.randn(16, 8), torch.zeros(16, dtype=torch.long)
    took = training.train(layer, inputs, labels, steps=steps, batch=4, rate=0.1, seed=0)
    assert 0 < took.loss < 10


def test_a_training_that_diverges_says_so():
    layer = nn.Linear(8, 4)
    inputs = torch.full((4, 8), torch.inf)
    with pytest.raises(training.DivergedError, match=r"the loss of step 1 is (nan|inf)"):
        training.train(layer, inputs, torch.zeros(4, dtype=torch.long), steps=2, batch=2, rate=0.1, seed=0)


@pytest.mark.parametrize("architecture", BODIES)
@pytest.mark.parametrize("shape", [Shape(28, channels=1), Shape(32, vocabulary=50)], ids=["image", "tokens"])
def test_binary_layers_of_a_network_read_no_rectified_values(architecture, shape):
    torch.manual_seed(0)
    made = network(architecture, shape, 10, 64, 2).eval()
    inputs = torch.randn(2, 1, 28, 28) if shape.channels else torch.arange(64).reshape(2, 32) % 50
    assert made(inputs).shape == (2, 10)
    _, report = convert(made, "bnn", example_inputs=(inputs,))
    assert len(report.binary) >= 2
    assert not any("bits are all +1" in note for layer in report.layers for note in layer.notes)


def test_every_task_names_architectures_that_are_there():
    for task in TASKS.values():
        assert set(task.architectures) <= set(BODIES)
        assert bool(task.shape.channels) != bool(task.shape.vocabulary)


def test_a_cell_has_figures_or_a_reason():
    with pytest.raises(ValidationError, match="an accuracy or the reason"):
        cell(missing="why")
    with pytest.raises(ValidationError, match="an accuracy or the reason"):
        cell(accuracy=None)
    with pytest.raises(ValidationError, match="no other figure"):
        cell(accuracy=None, missing="why")
