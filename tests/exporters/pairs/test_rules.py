"""Rules for complex numbers against torch: every function of `functions.py`, in one program of real tensors."""

import importlib.util
from pathlib import Path

import pytest
import torch

from edgepack.exporters.pairs.base import rules
from edgepack.exporters.pairs.fourier import to_real, transform
from edgepack.exporters.pairs.interpreter import is_complex, without_complex
from edgepack.toolchain.errors import ExportError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

spec = importlib.util.spec_from_file_location("complex_functions", Path(__file__).with_name("functions.py"))
functions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(functions)
FUNCTIONS = functions.FUNCTIONS


class All(torch.nn.Module):
    """Every function, of pairs, with pairs as results."""

    def forward(self, pairs, x):
        z = torch.view_as_complex(pairs)
        return tuple(value for function in FUNCTIONS.values() for value in leaves(function(z, x)))


def leaves(result):
    values = [result] if isinstance(result, torch.Tensor) else list(result)
    return [torch.view_as_real(v.resolve_conj()) if v.is_complex() else v for v in values]


@pytest.fixture(scope="module")
def program():
    z, x = functions.grid()
    inputs = (torch.view_as_real(z), x)
    with torch.no_grad():
        exported = torch.export.export(All(), inputs)
        assert is_complex(exported)
        # Called as it is: exporting it once more is for the test of whole models.
        return without_complex(exported, lambda module: module)[0]  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_function_gives_what_torch_gives(program, seed):
    z, x = functions.grid()
    z, x = (z, x) if not seed else (z.flip(1) * 0.7, -x)
    got = iter(program(torch.view_as_real(z), x))
    wrong = {}
    for name, function in FUNCTIONS.items():
        for want in leaves(function(z, x)):
            have = next(got)
            assert (name, have.shape, have.dtype) == (name, want.shape, want.dtype)
            if not torch.allclose(have.double(), want.double(), 1e-4, 1e-5, equal_nan=True):
                wrong[name] = (want, have)
    assert wrong == {}
    assert next(got, None) is None


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1200, 1500, 2048, 1031])
def test_transforms_of_all_lengths(n):
    torch.manual_seed(n)
    x = torch.randn(2, n)
    spectrum = torch.fft.rfft(x.double())
    made = transform(x, -1, n, bins=n // 2 + 1)
    scale = spectrum.abs().max()
    assert (torch.complex(made.re, made.im) - spectrum).abs().max() < 2e-6 * scale
    assert (to_real(made, -1, n) / n - x).abs().max() < 1e-5
    whole = transform(made, -1, n // 2 + 1)
    expected = torch.fft.fft(spectrum)
    assert (torch.complex(whole.re, whole.im) - expected).abs().max() < 4e-6 * expected.abs().max()


class Refused(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Identity()
        self.inner.forward = lambda z: torch.linalg.eigvals(z).real  # type: ignore[assignment,method-assign]

    def forward(self, x):
        return self.inner(torch.complex(x, x))


def test_what_has_no_rule_is_named_with_its_module():
    x = torch.eye(3)
    exported = torch.export.export(Refused(), (x,))
    with pytest.raises(
        ExportError,
        match=r"aten\.(_linalg_eigvals|linalg_eig\w*)\.default on complex numbers .* in module inner",
    ):
        without_complex(exported, lambda module: torch.export.export(module, (x,)))


def test_rules_are_of_operators_that_exist():
    unknown = []
    for name in rules.names():
        _, packet, *overload = name.split(".")
        operator = getattr(torch.ops.aten, packet, None)
        if operator is None or (overload and overload[0] not in operator.overloads()):
            unknown.append(name)
    assert unknown == []
