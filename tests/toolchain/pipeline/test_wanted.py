"""Families of targets: which names belong to which beginning."""

from __future__ import annotations

import pytest

from edgepack.targets.base import targets
from edgepack.toolchain.errors import ToolchainMissingError, UnknownNameError
from edgepack.toolchain.pipeline.wanted import members_of, resolve_targets

NAMES = ["cpu:onnxruntime", "cpu:openvino", "npu:ethos-u55-128", "npu:ethos-u55-256", "npu:ethos-u85-512",
         "npu:qnn-htp-v75", "npu:rk3566", "npu:rk3588", "npu:rv1106"]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "count"),
    [
        ("cpu", 2), ("npu", 7), ("mobile", 0), ("npu:ethos-u", 3), ("npu:ethos", 3), ("npu:ethos-u55", 2),
        ("npu:qnn-htp", 1), ("npu:qnn", 1), ("npu:rk", 2),
        # not where a word ends
        ("npu:", 0), ("np", 0), ("npu:e", 0), ("cpu:o", 0), ("cpu:open", 0), ("npu:ethos-u5", 0), ("npu:rk35", 0),
        ("npu:ethos-u55-1", 0), ("", 0),
    ],
)  # fmt: skip
def test_members(family: str, count: int) -> None:
    found = members_of(family, NAMES)
    assert len(found) == count
    assert all(name.startswith(family) for name in found)


def test_every_installed_member_once_in_order() -> None:
    found = [
        target.name for target in resolve_targets(["npu:ethos-u85-512", "npu:ethos-u", "npu:ethos-u55-128"])
    ]
    assert found[0] == "npu:ethos-u85-512"
    assert sorted(found) == members_of("npu:ethos-u", targets.names())


def test_a_family_of_which_nothing_is_installed(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("EDGEPACK_ENVIRONMENTS", str(tmp_path))
    with pytest.raises(ToolchainMissingError, match="edgepack setup npu:qnn-htp-v68"):
        resolve_targets(["npu:qnn"])


def test_a_beginning_that_is_no_family() -> None:
    with pytest.raises(UnknownNameError, match="Unknown target 'npu:ethos-u5'"):
        resolve_targets(["npu:ethos-u5"])
