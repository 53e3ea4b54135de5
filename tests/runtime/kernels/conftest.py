"""The library of native operators as the sources are now: the installed one, or a fresh build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from edgepack.runtime import kernels
from edgepack.runtime.kernels import build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its path; for the length of the tests it is also the one that edgepack finds."""
    if missing := build.what_is_missing():
        pytest.skip(f"the native kernels cannot be built: no {missing}")
    sources = [build.SOURCES / "CMakeLists.txt", *(build.SOURCES / "src").iterdir()]
    path = Path(kernels.__file__).with_name(kernels.library_name())
    if not path.is_file() or path.stat().st_mtime < max(file.stat().st_mtime for file in sources):
        path = tmp_path_factory.mktemp("kernels") / kernels.library_name()
        build.build(path, "-DEDGEPACK_WARNINGS_ARE_ERRORS=ON")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPACK_KERNELS_LIBRARY", str(path))
        patch.delenv("EDGEPACK_KERNEL", raising=False)
        yield path


def open_model(model: onnx.ModelProto, *, native: bool = True, threads: int = 1) -> Any:
    """A session of plain ONNX Runtime, with the native operators or without them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if native:
        assert kernels.register(options), kernels.why_not()
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture
def opened(library: Path) -> Callable[..., Any]:
    return open_model
