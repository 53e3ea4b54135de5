"""GELU by the tangent: as torch computes it, inside XNNPACK too, which takes it for the one by the error function."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from edgepack.toolchain.vendors import executorch_gelu

X = torch.linspace(-5, 5, 301).reshape(1, 301)


class Curves(torch.nn.Module):
    """A GELU of each kind, one of them an output as it is."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        bent = functional.gelu(x, approximate="tanh")
        return bent, functional.gelu(x + bent, approximate="tanh"), functional.gelu(x)


def exported() -> torch.export.ExportedProgram:
    return torch.export.export(Curves().eval(), (X,))


def test_it_computes_the_same_and_can_be_kept(tmp_path: Path) -> None:
    program = exported()
    assert executorch_gelu.written_out(program) == 2
    assert executorch_gelu.written_out(program) == 0
    torch.export.save(program, tmp_path / "model.pt2")
    made = torch.export.load(tmp_path / "model.pt2").module()(X)
    for ours, theirs in zip(made, Curves()(X), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_delegate_takes_one_for_the_other(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    from edgepack.toolchain.vendors import executorch_lowering
    from edgepack.toolchain.vendors.executorch import METHOD, import_runtime

    def run(program: torch.export.ExportedProgram, name: str) -> list[torch.Tensor]:
        facts = executorch_lowering.write({METHOD: program}, tmp_path / name, "main")
        assert not [row for row in facts["portable"] if "gelu" in row["op"] or "tanh" in row["op"]]
        runtime, _ = import_runtime()
        made: list[torch.Tensor] = (
            runtime.get().load_program(tmp_path / name).load_method(METHOD).execute((X,))
        )
        return made

    wanted = Curves()(X)
    raw = run(exported(), "raw.pte")
    assert (raw[0] - wanted[0]).abs().max() > 1e-4  # the reason for all this
    program = exported()
    executorch_gelu.written_out(program)
    for ours, theirs in zip(run(program, "written.pte"), wanted, strict=True):
        assert (ours - theirs).abs().max() < 2e-6
