"""What is worse, what is the same, and what a failure is."""

from __future__ import annotations

import pytest

from edgepack.toolchain.errors import DeviceError, GateError
from edgepack.toolchain.farm.compare import judged
from edgepack.toolchain.farm.outcome import raise_if_worse
from tests.toolchain.farm.figures import report, result


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (result(1.0), "same"),
        (result(1.09), "same"),
        (result(1.12), "worse"),
        (result(1.12, ci_low_ms=1.01), "same"),
        (result(1.12, ci_low_ms=None, ci_high_ms=None), "worse"),
        (result(0.92), "same"),
        (result(0.85), "faster"),
        (result(0.5, peak_bytes=111 << 20), "worse"),
        (result(1.0, peak_bytes=None), "same"),
        (result(None, error="the link broke"), "failed"),
    ],
)
def test_against_a_good_one(now, verdict):
    found = judged(now, result(1.0), 0.1)
    assert found.verdict == verdict
    assert found.before_ms == 1.0
    assert found.why


@pytest.mark.parametrize(
    ("count", "verdict"), [(1000, "same"), (1099, "same"), (1101, "worse"), (900, "faster")]
)
def test_an_emulated_board_by_its_instructions(count, verdict):
    good, now = (
        result(None, peak_bytes=None, emulated="QEMU", instructions=float(one)) for one in (1000, count)
    )
    found = judged(now, good, 0.1)
    assert found.verdict == verdict
    assert "instructions" in found.why
    assert (found.before_ms, found.before_instructions) == (None, 1000)


def test_the_tolerance_is_the_user_s():
    assert judged(result(1.12), result(1.0), 0.2).verdict == "same"
    assert judged(result(1.06), result(1.0), 0.0).verdict == "worse"


def test_the_first_time():
    assert judged(result(), None, 0.1).verdict == "first"
    assert judged(result(None, error="no"), None, 0.1).verdict == "no figure"


def test_exit_codes():
    good = judged(result(1.0), result(1.0), 0.1)
    raise_if_worse(report(good))
    slow = judged(result(2.0), result(1.0), 0.1)
    with pytest.raises(GateError, match=r"minilm on board: 2\.00. the time of 2026-01-02") as error:
        raise_if_worse(report(good, slow, *[slow] * 4))
    assert error.value.exit_code == 3
    assert "and 2 more" in str(error.value)
    lost = judged(result(None, error="no"), None, 0.1)
    with pytest.raises(DeviceError, match="no figure of minilm on board") as missing:
        raise_if_worse(report(good, lost))
    assert missing.value.exit_code == 4
    with pytest.raises(GateError):
        raise_if_worse(report(lost, slow))
