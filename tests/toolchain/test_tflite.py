"""Reading TFLite files, and writing over one that a model was read from."""

from __future__ import annotations

import gc
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack.toolchain import tflite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    script = Path(__file__).parents[1] / "tflite_models.py"
    written: Path = runpy.run_path(str(script))["write"](tmp_path)["cnn"].path
    return written


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="lists open files as Linux does")
def test_a_file_is_closed_when_its_model_is_gone(path: Path) -> None:
    def held() -> list[str]:
        links = (os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())
        return [link for link in links if link == os.path.realpath(path)]

    model = tflite.read(path)
    assert tflite.operators(model)
    del model
    gc.collect()
    assert held() == []


def test_a_model_outlives_the_file_that_it_was_read_from(path: Path) -> None:
    def constants() -> list[bytes]:
        return [bytes(buffer.data) for buffer in tflite.read(path).buffers if buffer.data is not None]

    before = constants()
    model = tflite.read(path)
    more = type(model.buffers[0])()
    more.data = np.zeros(1000, np.uint8)
    model.buffers.append(more)  # lies in front of the others in the file, and moves them
    for _ in range(2):
        tflite.write(model, path)
    assert constants() == [*before, bytes(1000)]
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []
