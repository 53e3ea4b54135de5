"""Peak memory in a child process, on files whose size is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime import memory
from edgepack.runtime._memory_child import high_water_bytes
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import (
    EdgepackError,
    SourceError,
    ToolchainFailedError,
    UnknownNameError,
    UsageError,
)
from edgepack.toolchain.program import Signature, TensorSpec

MEGABYTE = 2**20


def _product(path: Path, rows: int) -> Signature:
    """y = x W with a random [rows, 1024] matrix, each run touching all of it."""
    matrix = np.random.default_rng(0).standard_normal((rows, 1024), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])],
        [numpy_helper.from_array(matrix, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=path.name + ".data")
    return Signature((TensorSpec("x", "float32", (1, rows)),), (TensorSpec("y", "float32", (1, 1024)),))


def test_fifty_megabytes_of_weights_show(tmp_path: Path) -> None:
    found = {}
    for name, rows in (("tiny", 16), ("large", 50 * 256)):
        path = tmp_path / f"{name}.onnx"
        signature = _product(path, rows)
        found[name] = memory.peak("onnxruntime", path, signature, {"x": np.ones((1, rows), np.float32)})
    tiny: Any = found["tiny"]
    large: Any = found["large"]
    for result in found.values():
        assert result.kind == "measured"
        assert result.baseline_bytes is not None
        assert result.load_bytes is not None
        assert 10 * MEGABYTE < result.baseline_bytes <= result.load_bytes <= result.peak_bytes
    assert abs(large.baseline_bytes - tiny.baseline_bytes) < 8 * MEGABYTE
    # The weights are 50 MiB; the runtime may hold them twice (as stored and packed) but not thrice.
    assert 45 * MEGABYTE < large.peak_bytes - tiny.peak_bytes < 130 * MEGABYTE
    assert tiny.peak_bytes - tiny.baseline_bytes < 25 * MEGABYTE


def test_what_this_process_holds_does_not_count(tmp_path: Path) -> None:
    ballast = np.ones(60 * MEGABYTE // 4, np.float32)
    path = tmp_path / "tiny.onnx"
    signature = _product(path, 16)
    result = memory.peak("onnxruntime", path, signature, {"x": np.ones((1, 16), np.float32)})
    assert high_water_bytes() - result.peak_bytes > ballast.nbytes / 2


def test_the_child_imports_no_framework() -> None:
    code = (
        "import sys; import edgepack.runtime._memory_child;"
        "from edgepack.runtime.sessions.base import sessions; sessions.get('onnxruntime').prepare();"
        "print({'torch', 'transformers', 'onnx', 'onnx_ir', 'tensorflow', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_errors_come_back_as_they_were(model_file: Path, signature: Signature, x) -> None:
    with pytest.raises(UsageError, match="'x' must have 2 dimensions"):
        memory.peak("onnxruntime", model_file, signature, {"x": x[0]})
    with pytest.raises(UnknownNameError, match="Did you mean 'onnxruntime'"):
        memory.peak("onnxrutime", model_file, signature, {"x": x})
    model_file.write_bytes(b"rubbish")
    with pytest.raises(SourceError, match=r"cannot load dense\.onnx"):
        memory.peak("onnxruntime", model_file, signature, {"x": x})


def test_a_child_that_takes_too_long_is_stopped(model_file: Path, signature: Signature, x) -> None:
    with pytest.raises(ToolchainFailedError, match="did not finish within"):
        memory.peak("onnxruntime", model_file, signature, {"x": x}, time_limit_s=0.01)


def test_the_high_water_mark_is_read_from_the_kernels_table(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t  12345 kB\nVmRSS:\t  10000 kB\n")
    assert high_water_bytes(status) == 12345 * 1024
    status.write_text("Name:\tpython\n")
    with pytest.raises(EdgepackError, match="peak memory"):
        high_water_bytes(status)


def test_elsewhere_the_fallback_gives_a_plausible_figure(tmp_path: Path) -> None:
    assert (
        10 * MEGABYTE
        < high_water_bytes(tmp_path / "absent")
        < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )


def test_onnxruntime_is_ready_before_the_baseline() -> None:
    """Otherwise the runtime's own size would be counted as the artifact's."""
    code = (
        "import sys; from edgepack.runtime.sessions.base import sessions;"
        "sessions.get('onnxruntime').prepare(); sys.exit('onnxruntime' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "prepare" in vars(sessions.get("onnxruntime"))
