"""Factories are called in this process here; in a run they are called in a worker (see test_ladder)."""

import importlib
import sys
import textwrap

import numpy as np
import pytest

from edgepack.exporters.record import record
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import ExportError, SourceError

HEADER = """
    import torch
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(6, 3)
        def forward(self, x, scale=None):
            return self.linear(x) * (1.0 if scale is None else scale)
"""


@pytest.fixture
def write(tmp_path):
    def put(body: str, *inputs: str, name: str = "make"):
        path = tmp_path / "net.py"
        path.write_text(textwrap.dedent(HEADER) + textwrap.dedent(body))
        return open_source(SourceRequest(f"{path}:{name}", inputs=inputs))

    return put


def refuse(source, said):
    with pytest.raises(SourceError, match=said) as caught:
        recorded(source)
    return caught.value


def recorded(source):
    source.check()
    return record(source.open_torch().main)


def test_a_module_with_example_inputs_gets_a_varying_batch(write):
    source = write("def make():\n    return Net(), (torch.zeros(4, 6),)")
    source.check()
    cases, signature = record(source.open_torch().main)
    assert [str(spec) for spec in signature.inputs] == ["x:float32[batch,6]"]
    assert [str(spec) for spec in signature.outputs] == ["output:float32[batch,3]"]
    assert [case.inputs["x"].shape[0] for case in cases] == [4, 1, 7]


def test_inputs_name_what_varies(write):
    source = write("def make():\n    return Net()", "x:float32[1,n=5,6]")
    _, signature = record(source.open_torch().main)
    assert [str(spec) for spec in signature.outputs] == ["output:float32[1,n,3]"]


def test_examples_by_name(write):
    source = write("def make():\n    return Net(), {'x': torch.zeros(2, 6), 'scale': torch.ones(2, 1)}")
    model = source.open_torch().main
    assert [spec.name for spec in model.signature.inputs] == ["x", "scale"]


def test_outputs_by_name(write):
    body = """
        class Two(Net):
            def forward(self, x):
                return {"a": x + 1, "b": self.linear(x)}
        def make():
            return Two(), (torch.zeros(2, 6),)
    """
    cases, signature = record(write(body).open_torch().main)
    assert [spec.name for spec in signature.outputs] == ["a", "b"]
    np.testing.assert_allclose(cases[1].outputs["a"], cases[1].inputs["x"] + 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def make():\n    raise RuntimeError('no disk')", "The factory raised RuntimeError: no disk"),
        ("def make():\n    return 3", "returned int, not an nn.Module"),
        ("def make(a, b):\n    return Net()", "The factory raised TypeError"),
        ("def make():\n    return Net()", "Nobody said what the model's inputs are"),
        ("def make():\n    return Net(), {'y': torch.zeros(2, 6)}", "forward does not take"),
        ("def make():\n    return Net(), {'scale': torch.zeros(2, 6)}", "gap"),
        ("def make():\n    return Net(), (3,)", "is int, not a tensor"),
        ("def make():\n    return Net(), 'text'", "not str"),
        (
            "def make():\n    return Net().bfloat16(), (torch.zeros(2, 6).bfloat16(),)",
            "example input 'x' is bfloat16, which numpy",
        ),
        (
            "def make():\n    n = Net()\n    n.forward = lambda x: x.bfloat16()\n    return n, (torch.zeros(2, 6),)",
            "output 'output' of forward is bfloat16, which numpy",
        ),
        ("def make():\n    return Net(), (torch.zeros(2, 7),)", "forward raised RuntimeError"),
        ("raise ValueError('at import')", "raised ValueError: at import"),
        ("def other():\n    return Net()", "has no 'make'"),
    ],
)
def test_bad_factories(write, body, said):
    assert refuse(write(body), said).exit_code == 5


def test_outputs_that_are_no_tensors(write):
    body = """
        class Odd(Net):
            def forward(self, x):
                return {"a": x, "b": "text"}
        def make():
            return Odd(), (torch.zeros(2, 6),)
    """
    refuse(write(body), "output 'b' of forward is str")


def test_nan_in_the_weights_is_found_before_export(write):
    body = """
        def make():
            net = Net()
            net.linear.weight.data[1, 2] = float("nan")
            return net, (torch.zeros(2, 6),)
    """
    refuse(write(body), "weights hold NaN or infinity: linear.weight")


def test_randomness_in_forward_is_found(write):
    body = """
        class Noisy(Net):
            def forward(self, x):
                return x + torch.rand_like(x)
        def make():
            return Noisy(), (torch.zeros(2, 6),)
    """
    with pytest.raises(ExportError, match="draws random numbers"):
        record(write(body).open_torch().main)


def test_state_in_forward_is_found(write):
    body = """
        class Counter(Net):
            def __init__(self):
                super().__init__()
                self.register_buffer("n", torch.zeros(()))
            def forward(self, x):
                self.n += 1
                return x + self.n
        def make():
            return Counter(), (torch.zeros(2, 6),)
    """
    with pytest.raises(ExportError, match="changes its own state"):
        record(write(body).open_torch().main)


@pytest.mark.parametrize("model", ["no_such_file.py:make", "3x.y:make"])
def test_there_is_no_such_place(model):
    with pytest.raises(SourceError):
        open_source(SourceRequest(model)).check()


@pytest.mark.parametrize("name", ["onnx", "colorsys", "two.dots"])
def test_a_file_named_like_another_module_leaves_it_alone(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (tmp_path / "beside.py").write_text("ROWS = 4\n")
    body = "import beside\ndef make():\n    return Net(), (torch.zeros(beside.ROWS, 6),)\n"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(HEADER) + body)
    _, signature = recorded(open_source(SourceRequest(f"{tmp_path / name}.py:make")))
    assert [str(spec) for spec in signature.inputs] == ["x:float32[batch,6]"]
    if name.isidentifier():
        importlib.invalidate_caches()
        assert not hasattr(importlib.import_module(name), "make")


def test_scores_that_exclude_are_no_broken_weights(write):
    body = """
        class Banning(Net):
            def forward(self, x):
                y = super().forward(x)
                return torch.where(torch.arange(y.shape[-1]) == 1, float("-inf"), y)
        def make():
            return Banning(), (torch.randn(2, 6),)
    """
    cases, _ = recorded(write(textwrap.dedent(body)))
    (values,) = cases[0].outputs.values()
    assert np.isneginf(values[..., 1]).all()


def test_a_scalar_example_stays_an_array(write):
    source = write("def make():\n    return Net(), (torch.randn(2, 6), torch.tensor(3.0))")
    cases, _ = recorded(source)
    assert all(case.inputs["scale"].shape == () for case in cases)
    assert len({float(case.inputs["scale"]) for case in cases}) == 3
