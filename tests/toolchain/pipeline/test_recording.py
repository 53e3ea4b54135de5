"""Calls that travel with an artifact, and the row that is timed."""

from typing import Any

import numpy as np
import pytest

from edgepack.toolchain.pipeline import recording


def test_calls_of_a_model_without_inputs_are_as_many_as_their_outputs(tmp_path):
    calls: list[Any] = [({}, {"y": np.full(3, value, np.float32)}) for value in range(2)]
    recording.write_calls(tmp_path / "cases.npz", calls)
    feeds, reference = recording.read(tmp_path / "cases.npz")
    assert feeds == [{}, {}]
    assert [float(outputs["y"][0]) for outputs in reference] == [0, 1]


@pytest.mark.parametrize(
    ("value", "shape"), [(np.float32(3), ()), (np.arange(6).reshape(2, 3), (1, 3)), (np.arange(4), (3,))]
)
def test_the_first_row_has_the_asked_shape(value, shape):
    row = recording.first_row(np.asarray(value), shape)
    assert row.shape == shape
    assert (row == np.asarray(value).reshape(-1)[0]).any()


def test_a_file_of_calls_that_is_damaged_is_a_value_error(tmp_path):
    path = tmp_path / "cases.npz"
    recording.write_calls(path, [({"x": np.zeros(500, np.float32)}, {"y": np.arange(500)})])
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:60] + bytes(60) + whole[120:], b"PK\x03\x04 no zip", b""):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, OSError)):
            recording.read(path)
