"""Boards of a test's own, of the real wheel."""

from __future__ import annotations

import pytest

from edgepack.runtime.devices.board import boards, making
from tests.conftest import data_of, program_of


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache without boards; what is built goes there, too."""
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def board(cache):
    """One that is off."""
    for package in ("qemu-user-static", "g++-aarch64-linux-gnu"):
        program_of(package)
    making.create("tester", onnxruntime=data_of("aarch64-wheels"))
    return boards.get("tester")
