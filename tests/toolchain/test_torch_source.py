"""A torch model opened from the ground floor: by who is filed for it, without naming the exporters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.torch_source import open_torch, torch_program

FACTORY = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2).eval()
"""


@pytest.fixture
def source(tmp_path: Path) -> dict[str, object]:
    script = tmp_path / "model.py"
    script.write_text(FACTORY)
    return {"model": f"{script}:make", "inputs": ["x:float32[rows=4,3]"]}


def test_a_part_and_its_program(source: dict[str, object]) -> None:
    import torch

    part = open_torch(source)
    assert [spec.shape for spec in part.signature.inputs] == [("rows", 3)]
    assert [(bool(spec.name), spec.shape) for spec in part.signature.outputs] == [(True, ("rows", 2))]
    given = torch.from_numpy(part.example({"rows": 5}, 0)["x"])
    program = torch_program(source, "main", {"rows": 5})
    made = program.module()(given)
    np.testing.assert_array_equal(made.detach().numpy(), part.module(given).detach().numpy())
    assert made.shape == (5, 2)


def test_a_source_without_torch(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="kind 'onnx' cannot be opened in torch"):
        open_torch({"model": str(tmp_path / "model.onnx")})


def test_asking_costs_nothing_before_it_is_done() -> None:
    code = (
        "import sys, edgepack.toolchain.torch_source;"
        "sys.exit(', '.join(name for name in ('torch', 'numpy', 'edgepack.exporters') if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
