"""The worker in which nncase lives: what it sets before the import, and arrays that the simulator would misread."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepack.toolchain.vendors import _k230_worker as worker


class Simulator:
    """Gives twice what it was given."""

    outputs_size = 1

    def __init__(self) -> None:
        self.given: dict[int, np.ndarray] = {}

    def get_input_shape(self, index: int) -> Sequence[int]:
        return [2, 3][index:]

    def get_input_desc(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(dtype=np.dtype(("float32", "int64")[index]))

    def set_input_tensor(self, index: int, tensor: np.ndarray) -> None:
        self.given[index] = tensor

    def run(self) -> None:
        if np.isnan(self.given[0]).any():
            raise RuntimeError("no number")

    def get_output_tensor(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(to_numpy=lambda: 2 * self.given[index])


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Simulator:
    fake: Any = ModuleType("nncase")
    fake.RuntimeTensor = SimpleNamespace(from_numpy=lambda array: array)
    monkeypatch.setitem(sys.modules, "nncase", fake)
    return Simulator()


def call(simulator: Simulator, folder: Path, array: np.ndarray) -> dict[str, Any]:
    np.savez(folder / "inputs.npz", array)
    request = {
        "inputs": str(folder / "inputs.npz"),
        "outputs": str(folder / "outputs.npz"),
        "names": ["x"],
    }
    answer: dict[str, Any] = worker.called(simulator, request)
    return answer


def test_a_call(simulator: Simulator, tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2).T  # not in one piece
    assert call(simulator, tmp_path, array) == {"ok": True, "count": 1}
    assert simulator.given[0].flags["C_CONTIGUOUS"]
    with np.load(tmp_path / "outputs.npz") as made:
        assert np.array_equal(made["arr_0"], 2 * array)


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.float32), np.zeros((2, 3)), np.zeros(6, np.float32)])
def test_arrays_of_another_size_or_type_never_reach_it(
    array: np.ndarray, simulator: Simulator, tmp_path: Path
) -> None:
    answer = call(simulator, tmp_path, array)
    assert not answer["ok"]
    assert "input 0 is" in answer["error"]
    assert simulator.given == {}


def test_a_simulator_that_fails(simulator: Simulator, tmp_path: Path) -> None:
    answer = call(simulator, tmp_path, np.full((2, 3), np.nan, np.float32))
    assert answer == {"ok": False, "error": "RuntimeError: no number"}


def test_what_is_set_before_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ, PATH="/usr/bin"))
    monkeypatch.setattr(sysconfig, "get_path", {"purelib": str(tmp_path)}.get)
    simulator = tmp_path / "nncase.simulator.k230.sc"
    simulator.write_bytes(b"\x7fELF")
    simulator.chmod(0o644)
    worker.prepare("/opt/dotnet")
    assert os.environ["DOTNET_ROOT"] == "/opt/dotnet"
    assert os.environ["DOTNET_ROLL_FORWARD"] == "Major"
    assert os.environ["PATH"] == f"{tmp_path}{os.pathsep}/usr/bin"
    assert os.environ["NNCASE_PLUGIN_PATH"] == str(tmp_path / "nncase" / "modules" / "kpu")
    assert os.access(simulator, os.X_OK)
