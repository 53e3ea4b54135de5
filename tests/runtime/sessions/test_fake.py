"""The fake session keeps the interface's promises, so that tests which use it mean something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.sessions.fake import FakeClock, FakeSession
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.program import Signature


def test_zeros_of_the_right_shape(signature: Signature, x) -> None:
    with FakeSession(Path("nowhere.onnx"), signature) as session:
        y = session.run({"x": x})["y"]
    assert y.shape == (3, 512)
    assert y.dtype == np.float32
    assert session.closed
    assert session.calls[0]["x"] is x


def test_a_function(signature: Signature, x) -> None:
    session = FakeSession(Path("f"), signature, function=lambda inputs: {"y": inputs["x"] * 2})
    np.testing.assert_array_equal(session.run({"x": x})["y"], x * 2)


def test_refuses_what_real_sessions_refuse(signature: Signature, x) -> None:
    with pytest.raises(UsageError, match="'x'"):
        FakeSession(Path("f"), signature).run({"x": x[0]})


def test_has_no_profile_and_says_why(signature: Signature, x) -> None:
    profile = FakeSession(Path("f"), signature).profile({"x": x})
    assert profile.operators == []
    assert profile.missing


def test_is_not_offered() -> None:
    assert "fake" not in sessions


def test_clock() -> None:
    clock = FakeClock()
    call = clock.takes(iter([1.5, 2.0]))
    call()
    assert clock() == 1_500_000
    call()
    assert clock() == 3_500_000
