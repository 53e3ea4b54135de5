"""Writing over a TFLite file that a model was read from."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

from edgepack.toolchain import tflite


def test_a_model_outlives_the_file_that_it_was_read_from(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "tflite_models.py"
    path = runpy.run_path(str(script))["write"](tmp_path)["cnn"].path

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
