"""What a device hands back is read with distrust."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from edgepack.runtime.devices.native import answers
from edgepack.toolchain.errors import DeviceError


def tensor(kind, shape, content):
    return struct.pack(f"<2I{len(shape)}q", kind, len(shape), *shape) + content


def test_outputs_call_by_call():
    x, y = np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)
    content = tensor(1, (2, 3), x.tobytes()) + tensor(7, (), y.tobytes()) + tensor(10, (0, 4), b"")
    first, second = answers.outputs(content, [("x", "y"), ("z",)])
    np.testing.assert_array_equal(first["x"], x)
    assert first["y"] == 7
    assert second["z"].shape == (0, 4)
    assert second["z"].dtype == np.float16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        tensor(1, (2,), b"1234"),
        tensor(1, (2,), bytes(9)),
        tensor(99, (1,), bytes(4)),
        tensor(1, (-3,), bytes(4)),
        tensor(1, (1 << 40, 1 << 40), bytes(4)),
        struct.pack("<2I", 1, 1 << 30),
    ],
)
def test_what_are_no_outputs(content):
    with pytest.raises(DeviceError, match="outputs cannot be read"):
        answers.outputs(content, [("x",)])


def test_a_tree(tmp_path):
    root = answers.plant({"proc/cpuinfo": "caf\u00e9", "sys/cpu0": None}, tmp_path / "tree")
    assert (root / "proc" / "cpuinfo").read_bytes() == b"caf\xe9"
    assert (root / "sys" / "cpu0").is_dir()


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_names_that_lead_out_of_it(tmp_path, name):
    with pytest.raises(DeviceError, match="outside of its tree"):
        answers.plant({name: "x"}, tmp_path / "tree")
    assert not (tmp_path / "x").exists()
