"""Models with complex numbers, through the ladder's first rung: graphs of real tensors that agree with torch."""

import math

import numpy as np
import pytest
import torch

from edgepack.exporters.taming import tamed
from edgepack.toolchain.errors import ExportError
from tests.exporters.wrongness.exporting import agrees, exported, model

pytestmark = pytest.mark.slow


class Rotary(torch.nn.Module):
    """Rotary positions as the first Llama computed them: a complex table, multiplied."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.query = torch.nn.Linear(16, 16)
        angles = torch.outer(torch.arange(64.0), 10000 ** (-torch.arange(0, 8, 2) / 8))
        self.register_buffer("freqs_cis", torch.polar(torch.ones_like(angles), angles))

    freqs_cis: torch.Tensor

    def forward(self, x):
        q = self.query(x).unflatten(-1, (2, 8))
        turned = torch.view_as_complex(q.reshape(*q.shape[:-1], 4, 2)) * self.freqs_cis[: x.shape[1], None]
        return torch.view_as_real(turned).flatten(2)


class S4D(torch.nn.Module):
    """A diagonal state space layer as a convolution by Fourier transforms; its state matrix is a complex parameter."""

    def __init__(self, width=4, states=6):
        super().__init__()
        torch.manual_seed(0)
        self.step = torch.nn.Parameter(torch.rand(width) - 4)
        self.a = torch.nn.Parameter(
            torch.complex(-torch.rand(width, states), math.pi * torch.randn(width, states))
        )
        self.c = torch.nn.Parameter(torch.randn(width, states, dtype=torch.complex64))

    def forward(self, u):
        length, rate = u.shape[1], self.a * self.step.exp().unsqueeze(-1)
        c = self.c * (rate.exp() - 1) / self.a
        powers = torch.exp(rate.unsqueeze(-1) * torch.arange(length))
        kernel = 2 * torch.einsum("hn,hnl->hl", c, powers).real
        spectrum = torch.fft.rfft(kernel, n=2 * length) * torch.fft.rfft(u.mT, n=2 * length)
        return torch.fft.irfft(spectrum, n=2 * length)[..., :length].mT


class Denoiser(torch.nn.Module):
    """A mask on a short-time spectrum, and back."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, x):
        z = torch.stft(x, 32, hop_length=8, window=self.window, return_complex=True)
        return torch.istft(
            z * torch.sigmoid(z.abs()), 32, hop_length=8, window=self.window, length=x.shape[-1]
        )


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (Rotary(), ["x:float32[batch=2,n=6,16]"]),
        (S4D(), ["u:float32[batch=2,n=6,4]"]),
        (Denoiser(), ["x:float32[batch=2,n=96]"]),
    ],
    ids=["rotary", "s4d", "denoiser"],
)
def test_complex_models_agree_at_other_sizes(tmp_path, net, inputs):
    program, answer = exported(model(net, *inputs), tmp_path, "dynamo")
    assert agrees(program)
    [note] = [n for n in answer["main"]["notes"] if "complex" in n]
    assert note.startswith("complex numbers written as pairs of real ones: ")
    graph = program.parts["main"].model().graph
    assert not {node.op_type for node in graph.all_nodes()} & {"DFT", "STFT"}
    sizes = {name: value.const_value.shape for name, value in graph.initializers.items()}
    if isinstance(net, Rotary):
        assert {name for name in sizes if name.startswith("freqs")} == {"freqs_cis.real", "freqs_cis.imag"}


class Both(torch.nn.Module):
    """Complex in and out."""

    def forward(self, z, x):
        return torch.fft.fft(z) * x, z.abs()


def test_complex_inputs_and_outputs_are_pairs_and_it_is_said(tmp_path):
    opened = model(Both(), "z:complex64[batch=2,5]", "x:float32[batch,5]", outputs=["spectrum", "size"])
    program, _ = exported(opened, tmp_path, "dynamo")
    assert (
        "complex: the input z and the output spectrum, as a last axis of 2, real part and imaginary part"
        in program.notes
    )
    part = program.parts["main"]
    assert [(s.dtype, s.shape) for s in part.signature.inputs] == [
        ("float32", ("batch", 5, 2)),
        ("float32", ("batch", 5)),
    ]
    assert [s.shape for s in part.signature.outputs] == [("batch", 5, 2), ("batch", 5)]
    case = part.cases[0]
    z = case.inputs["z"][..., 0] + 1j * case.inputs["z"][..., 1]
    want = np.fft.fft(z) * case.inputs["x"]
    assert np.allclose(case.outputs["spectrum"], np.stack([want.real, want.imag], -1), atol=1e-4)
    assert agrees(program)


class Recurrent(torch.nn.Module):
    """A complex state, kept in a buffer from call to call."""

    state: torch.Tensor
    turn: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("state", torch.zeros(1, 4, dtype=torch.complex64))
        self.register_buffer("turn", torch.polar(torch.full((4,), 0.9), torch.arange(4.0)))

    def forward(self, x):
        self.state = self.turn * self.state + x
        return self.state.real * 1.0


def test_a_complex_state_is_a_pair_over_many_calls(tmp_path):
    program, _ = exported(model(Recurrent(), "x:float32[1,4]"), tmp_path)
    assert [str(spec) for spec in program.parts["main"].signature.inputs] == [
        "x:float32[1,4]",
        "state:float32[1,4,2]",
    ]
    assert len(program.rollout) == 32
    assert agrees(program)


class Eigen(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).abs()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Eigen(), r"aten\.linalg_eigvals?\.default on complex numbers|aten\.linalg_eig\w*\.default"),
        (torch.nn.Sequential(Eigen()), r"in module 0\.0 \(Eigen\)|in module 0 \(Eigen\)"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name_and_place(tmp_path, layer, said):
    net = torch.nn.Sequential(layer)
    with pytest.raises(ExportError, match=said):
        exported(model(net, "x:float32[n=3,4,4]"), tmp_path, "dynamo", "static")


def test_equal_reasons_are_told_once(tmp_path):
    net = torch.nn.Sequential(Eigen())
    with pytest.raises(
        ExportError, match=r"^No way of exporting this model worked\. dynamo, static: "
    ) as told:
        exported(model(net, "x:float32[n=3,4,4]"), tmp_path, "dynamo", "static")
    assert str(told.value).count("linalg_eig") == 1
    assert "small fixed sizes" in str(told.value) or "real and imaginary parts" in str(told.value)


def test_a_model_without_complex_numbers_is_left_alone():
    opened = model(torch.nn.Linear(3, 3), "x:float32[n=2,3]")
    assert tamed(opened).main.module is opened.main.module
