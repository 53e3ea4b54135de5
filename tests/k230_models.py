"""A ready environment for nncase whose worker is a script of the test's own, and a program in the real one's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize.base import quantizers
from edgepack.toolchain import dotnet
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.vendors import k230
from tests import isolated
from tests.qnn_models import SIGNATURE, network, samples

__all__ = ["PROGRAM", "SIGNATURE", "VERSION", "network", "pretend", "quantized", "runtime", "samples"]
VERSION = next(pin.version for pin in k230.ENVIRONMENT.pins() if pin.name == k230.DISTRIBUTION)
# Lines as nncase 2.11.0 wrote them, with fewer of them inside fusions, for a network that ends in a Softmax.
PROGRAM = """\
%main = fn(%input_0: f32[1,3,16,16]): // (f32[1,3,16,16]) -> f32[1,10]
{
  %TileConv2dCase_0 = fusion<k230>(%var_4: u8[1,16,1,1]): // (u8[1,16,1,1]) -> f32[1,10,1,1]
  {
    %0 = GNNELoad(%var_4: u8[1,16,1,1]): // u8[1,16,1,1]
    %1 = GNNELoadW(const(u8[10,16,1,1])): // u8[10,16,1,1]
    %2 = GNNEStore(%1, const(i64[4] : {1L,1L,1L,1L})): // f32[1,10,1,1]
  }
  %TileAct1Case_0 = fusion<k230>(%var_6: f32[1,3,16,16]): // (f32[1,3,16,16]) -> u8[1,3,16,16]
  {
    %0 = GNNELoad(%var_6: f32[1,3,16,16]): // f16[1,3,16,16]
  }
  %0 = %TileAct1Case_0(%input_0): // u8[1,3,16,16]
  %1 = Conv2D(PadMode.Constant, %0, const(f32[16,3,3,3]), const(f32[16] : {0.5f,-1f})): // u8[1,16,1,1]
  %2 = %TileConv2dCase_0(%1): // f32[1,10,1,1]
  %3 = Reshape(%2, const(i32[2] : {1,10})): // f32[1,10]
  %4 = Binary(BinaryOp.Mul, %3, %3): // f32[1,10]
  %5 = Softmax(%4, const(i64 : 1)): // f32[1,10]
}
"""


def quantized(folder: Path, precision: str = "int8-static", **options: object) -> Lowered:
    """The small network with samples, as the quantizer leaves it."""
    return quantizers.get("k230")().quantize(network(folder), precision, samples(), folder / "q", **options)


def runtime(root: Path, version: str = "8.0.11") -> Path:
    """A folder that looks like an installation of .NET."""
    for place, name in ((f"host/fxr/{version}", "libhostfxr.so"),
                        (f"shared/Microsoft.NETCore.App/{version}", "libcoreclr.so")):  # fmt: skip
        (root / place).mkdir(parents=True)
        (root / place / name).write_bytes(b"\x7fELF")
    return root


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, worker: str) -> None:
    """A ready environment in `folder` whose worker is the given Python code.

    The code has `what` ("compile" or "run"), `request`, `log`, `PROGRAM`, `wrote(...)`, which writes a `.kmodel` and
    the program's text, and `answer(found)`, which answers a compile request.
    """
    monkeypatch.setenv(dotnet.ROOT_VARIABLE, str(runtime(folder / "net")))
    code = (
        f"sys.path.append({str(Path(np.__file__).parents[1])!r})\n"
        f"PROGRAM = {PROGRAM!r}\n"
        "def wrote(text=PROGRAM, head=b'LDMK'):\n"
        "    pathlib.Path(request['kmodel']).write_bytes(head + b'compiled')\n"
        "    folder = pathlib.Path(request['dump'], '7_TargetDependentAfterQuantPass', '9_Fusion', 'main')\n"
        "    folder.mkdir(parents=True)\n"
        "    (folder / 'End_main.il').write_text(text)\n"
        f"GOOD = {{'ok': True, 'versions': {{{k230.DISTRIBUTION!r}: {VERSION!r}}}}}\n"
        "def answer(found=GOOD):\n"
        "    pathlib.Path(request['answer']).write_text(json.dumps(found))\n" + worker
    )
    versions = {k230.DISTRIBUTION: VERSION, k230.PLUGIN: VERSION}
    script = isolated.pretend(monkeypatch, folder, k230.ENVIRONMENT, versions, code)
    monkeypatch.setattr(k230, "WORKER", replace(k230.WORKER, script=script))
