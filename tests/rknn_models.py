"""A ready environment for Rockchip's toolkit whose worker is a script of the test's own, and a log of the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize.base import quantizers
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.vendors import rknn
from tests import isolated
from tests.qnn_models import SIGNATURE, network, samples

__all__ = ["SIGNATURE", "TABLE", "VERSION", "network", "pretend", "quantized", "samples", "table"]
VERSION = next(pin.version for pin in rknn.ENVIRONMENT.pins() if pin.name == rknn.DISTRIBUTION)
_RULE = "D RKNN: [00:03:34.944] " + "-" * 60 + "\n"
# Rows as rknn-toolkit2 2.5.0 wrote them, with more spaces, for `network` on an RK3588.
TABLE = (
    "0  InputOperator  INT8  CPU  \\  (1,3,16,16)  0/0/0  0  InputOperator:x ",
    "1  ConvRelu  INT8  NPU  (1,3,16,16),(8,3,3,3),(8)  (1,8,16,16)  266/2304/2304  2  Conv:conv1  ",
    "2  Conv  INT8  NPU  (1,8,16,16),(16,8,3,3),(16)  (1,16,8,8)  325/576/576  6  Conv:conv2  ",
    "3  Conv  INT8  NPU  (1,16,8,8),(1,16,7,7),(16)  (1,16,2,2)  101/784/784  2  Conv:pool_2conv0",
    "6  Reshape  INT8  CPU  (1,10,1,1),(2)  (1,10)  0/0/0  0  Reshape:y_mm_tp_rs",
    "7  OutputOperator  INT8  CPU  (1,10)  \\  0/0/0  0  OutputOperator:y",
)


def table(*rows: str) -> str:
    """A log with these rows as its table of layers."""
    names = "ID  OpType  DataType  Target  InputShape  OutputShape  Cycles(DDR/NPU/Total)  RW(KB)  FullName"
    head = f"D RKNN: [00:03:34.944] {names}\n"
    body = "".join(f"D RKNN: [00:03:34.944] {row}\n" for row in rows)
    return f"I rknn building ...\n{_RULE}{head}{_RULE}{body}{_RULE}D RKNN: [00:03:34.945] after\n"


def quantized(folder: Path, precision: str = "int8-static", **options: object) -> Lowered:
    """The small network with samples, as the quantizer leaves it."""
    return quantizers.get("rknn")().quantize(network(folder), precision, samples(), folder / "q", **options)


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, worker: str) -> None:
    """A ready environment in `folder` whose worker is the given Python code.

    The code has `what` ("compile" or "run"), `request`, `log`, `TABLE` (a log), `wrote(...)`, which writes an `.rknn`
    and the log, and `answer(found)`, which answers a compile request.
    """
    code = (
        f"sys.path.append({str(Path(np.__file__).parents[1])!r})\n"
        f"TABLE = {table(*TABLE)!r}\n"
        "def wrote(text=TABLE, head=b'RKNN'):\n"
        "    log.write_text(text)\n"
        "    pathlib.Path(request['rknn']).write_bytes(head + b'compiled')\n"
        f"GOOD = {{'ok': True, 'versions': {{{rknn.DISTRIBUTION!r}: {VERSION!r}}}}}\n"
        "def answer(found=GOOD):\n"
        "    pathlib.Path(request['answer']).write_text(json.dumps(found))\n" + worker
    )
    script = isolated.pretend(monkeypatch, folder, rknn.ENVIRONMENT, {rknn.DISTRIBUTION: VERSION}, code)
    monkeypatch.setattr(rknn, "WORKER", replace(rknn.WORKER, script=script))
