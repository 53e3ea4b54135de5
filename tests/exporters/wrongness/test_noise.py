"""Random numbers in forward: they become inputs, with the distributions that torch draws from."""

import random

import numpy as np
import pytest
import torch

from edgepack.exporters.randomness import Noisy, draws
from edgepack.exporters.standard_noise import UNIFORM
from edgepack.exporters.taming import tamed
from edgepack.toolchain.errors import ExportError
from tests.exporters.wrongness.exporting import agrees, exported, model


class Sampler(torch.nn.Module):
    """A variational autoencoder's encoder: mean + deviation * noise."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 6)

    def forward(self, x):
        mean, log = self.net(x).chunk(2, -1)
        return mean + log.exp() * torch.randn_like(mean)


class Mask(torch.nn.Module):
    def forward(self, x):
        return x * torch.bernoulli(torch.sigmoid(x))


class DropoutLeftOn(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.25, training=True)


@pytest.mark.slow
@pytest.mark.parametrize("fool", [Sampler(), Mask(), DropoutLeftOn()], ids=lambda f: type(f).__name__)
def test_noise_becomes_an_input(tmp_path, fool):
    program, _ = exported(model(fool, "x:float32[n=3,4]"), tmp_path)
    part = program.parts["main"]
    kind = "standard normal" if isinstance(fool, Sampler) else UNIFORM
    assert part.signature.inputs[1].name == "noise_0"
    assert part.signature.inputs[1].shape == (("n", 3) if isinstance(fool, Sampler) else ("n", 4))
    assert any(
        f"noise_0:float32[n,{part.signature.inputs[1].shape[1]}] takes them, {kind}" in n
        for n in program.notes
    )
    assert agrees(program)
    # Another noise gives another output: it is not frozen.
    first = part.cases[0]
    first.inputs["noise_0"] = 1.0 - first.inputs["noise_0"]
    assert not agrees(program)


FORMULAS = {
    "randn": lambda x: torch.randn(x.shape),
    "rand": lambda x: torch.rand(*x.shape),
    "randn_size": lambda x: torch.randn(size=x.shape, dtype=torch.float64),
    "rand_like": torch.rand_like,
    "normal": lambda x: torch.normal(torch.full_like(x, 2.0), 3.0),
    "normal_number": lambda x: torch.normal(2.0, 3.0, x.shape),
    "normal_": lambda x: torch.empty_like(x).normal_(1.0, 0.5),
    "uniform_": lambda x: torch.empty_like(x).uniform_(-2.0, 4.0),
    "exponential_": lambda x: torch.empty_like(x).exponential_(2.0),
    "log_normal_": lambda x: torch.empty_like(x).log_normal_(0.0, 0.25),
    "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.33)),
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.33),
    "randint": lambda x: torch.randint(3, 10, x.shape),
    "randint_like": lambda x: torch.randint_like(x, 9),
    "dropout": lambda x: torch.nn.functional.dropout(torch.ones_like(x), 0.4, training=True),
    "dropout_in_place": lambda x: torch.nn.functional.dropout(
        torch.ones_like(x), 0.4, training=True, inplace=True
    ),
    "gumbel": lambda x: torch.nn.functional.gumbel_softmax(x, tau=0.5, dim=0),
    "distribution": lambda x: torch.distributions.Normal(1.0, torch.full_like(x, 2.0)).rsample(),
}


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_has_the_distribution_of_the_function(name):
    module, x = Function(FORMULAS[name]), torch.zeros(200, 100)
    torch.manual_seed(0)
    theirs = module(x)
    found = draws(module, [x], "here")
    assert [draw.shape for draw in found] == [(200, 100)]
    make = torch.rand if found[0].kind == UNIFORM else torch.randn
    ours = Noisy(module, 1, "here")(x, make(200, 100))
    assert ours.dtype == theirs.dtype
    quantiles = np.linspace(0.05, 0.95, 19)
    a, b = (np.quantile(t.double().numpy(), quantiles, method="nearest") for t in (theirs, ours))
    assert np.abs(a - b).max() < 0.05 * max(1.0, np.abs(a).max())


def test_a_whole_channel_is_dropped():
    module = Function(lambda x: torch.nn.functional.dropout2d(x, 0.5, training=True))
    assert [draw.shape for draw in draws(module, [torch.ones(2, 3, 4, 5)], "here")] == [(2, 3, 1, 1)]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: torch.multinomial(x.softmax(-1), 1).float(), "multinomial"),
        (lambda x: x[torch.randperm(3)], "randperm"),
        (
            lambda x: torch.nn.functional.scaled_dot_product_attention(
                x[None], x[None], x[None], dropout_p=0.5
            ),
            "scaled_dot_product_attention with dropout_p",
        ),
        (lambda x: torch.nn.functional.alpha_dropout(x, training=True), "alpha_dropout"),
    ],
)
def test_a_function_without_a_formula_is_named(function, name):
    with pytest.raises(ExportError, match=f"draws random numbers with {name}.*Draw them outside"):
        tamed(model(Function(function), "x:float32[3,4]"))


def test_a_shape_that_follows_from_data_is_refused():
    def masked(x):
        kept = x[x > 0]
        return (kept * torch.rand_like(kept)).sum()

    with pytest.raises(ExportError, match="follows no size of its inputs"):
        tamed(model(Function(masked), "x:float32[3,4]"))


def test_noise_from_elsewhere_would_be_frozen():
    def masked(x):
        return x * (random.random() > 0.5) + np.random.default_rng().random()  # noqa: S311

    with pytest.raises(ExportError, match=r"elsewhere than in torch \(numpy, random\)"):
        tamed(model(Function(masked), "x:float32[3,4]"))


class NoisyState(torch.nn.Module):
    """Random and stateful at once."""

    walk: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("walk", torch.zeros(4))

    def forward(self, x):
        self.walk += torch.randn(4)
        return x + self.walk


def test_a_random_walk_has_noise_and_a_state(tmp_path):
    program, _ = exported(model(NoisyState(), "x:float32[2,4]"), tmp_path)
    assert [s.name for s in program.parts["main"].signature.inputs] == ["x", "noise_0", "module.walk"]
    assert agrees(program)
    assert len(program.rollout) == 32
