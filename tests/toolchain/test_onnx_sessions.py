"""Whatever opens an ONNX file computes its binary layers with the native kernels, and says why if it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgepack.exporters.sources import _onnx_reference
from edgepack.quantize import _onnx_observe
from edgepack.runtime import kernels
from edgepack.runtime.sessions import _onnxruntime_load
from edgepack.toolchain import doctor, onnx_sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.pipeline.as_written import run_as_written
from edgepack.toolchain.program import Signature, TensorSpec
from tests.runtime.kernels.conftest import library  # noqa: F401 - a fixture
from tests.runtime.kernels.layers import BinaryLayer

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "float32", ("batch", 40)),), outputs=(TensorSpec("y", "float32", ("batch", 24)),)
)
LAYER = BinaryLayer.random(np.random.default_rng(0), 24, 40)
X = np.random.default_rng(1).standard_normal((3, 40)).astype(np.float32)


def _run(session: Any) -> np.ndarray:
    (y,) = session.run(None, {"x": X})
    return np.asarray(y)


OPENERS: dict[str, Callable[[Path], np.ndarray]] = {
    "session": lambda path: _run(
        _onnxruntime_load.load(path, _onnxruntime_load.session_options(1, spinning=False))
    ),
    "reference": lambda path: _run(_onnx_reference.session(path)),
    "reference, changed": lambda path: _run(_onnx_reference.session(path, path.read_bytes())),
    "observed": lambda path: _run(_onnx_observe._session(path.read_bytes(), path)),
    "as written": lambda path: run_as_written(path, SIGNATURE, [{"x": X}])[0]["y"],
}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A file without the function that would do instead: only the native operator can run it."""
    onnx.save(LAYER.model(), tmp_path / "bare.onnx")
    return tmp_path / "bare.onnx"


@pytest.mark.parametrize("name", OPENERS)
def test_every_opener_has_the_native_operators(name: str, library, bare: Path) -> None:  # noqa: F811
    np.testing.assert_array_equal(OPENERS[name](bare), LAYER.expected(X))


@pytest.mark.parametrize("name", OPENERS)
def test_every_opener_says_what_is_missing(name: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_KERNELS_LIBRARY", "/nowhere/lib.so")
    with pytest.raises(Exception, match="it uses native operators, and the native kernels were not built"):
        OPENERS[name](bare)


def test_a_fault_of_another_kind_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="INVALID_PROTOBUF"):
        onnx_sessions.opened(b"no model", onnxruntime.SessionOptions())
    with pytest.raises(SourceError, match="does not run nothing"):
        run_as_written(tmp_path / "nothing.onnx", SIGNATURE, [])


def test_the_doctor_names_the_kernel(library, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    best, *others = kernels.available()
    assert doctor._native_kernels().detail == f"{best}; this processor also runs {', '.join(others)}"
    monkeypatch.setenv("EDGEPACK_KERNEL", "portable")
    assert doctor._native_kernels().detail.startswith("portable; ")
    assert doctor._native_kernels().status == "ok"


def test_the_doctor_says_why_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_KERNELS_LIBRARY", str(tmp_path / "none.so"))
    found = doctor._native_kernels()
    assert (found.status, found.command) == ("warning", "python -m edgepack.runtime.kernels.build")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._native_kernels().detail == "not built: there is no cmake"
    monkeypatch.setenv("EDGEPACK_KERNELS_LIBRARY", "off")
    assert doctor._native_kernels().detail == "EDGEPACK_KERNELS_LIBRARY turns the native kernels off"
    monkeypatch.setenv("EDGEPACK_KERNELS_LIBRARY", __file__)
    assert "cannot be loaded" in doctor._native_kernels().detail
