"""The hash of edgepack's own source in the keys of kept results."""

from __future__ import annotations

import pytest

from edgepack.toolchain.pipeline import own_code

QNN, RKNN, LITERT = (f"edgepack.targets.{name}" for name in ("npu.qnn", "npu.rknn", "mobile.litert"))


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch):
    """Takes a file for changed, as if edgepack had been started anew."""
    real = own_code._hashes()

    def change(name: str) -> None:
        assert name in real
        monkeypatch.setattr(own_code, "_hashes", lambda: {**real, name: "0" * 64})
        own_code._digest.cache_clear()

    yield change
    monkeypatch.undo()
    own_code._digest.cache_clear()


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("targets/npu/qnn.py", {QNN}),
        ("targets/npu/_qnn_placement.py", {QNN}),
        ("targets/mobile/_tflite/operators/elementary.py", {LITERT}),
        ("targets/mobile/_litert_worker.py", {LITERT}),
        ("targets/base.py", {QNN, RKNN, LITERT, ""}),
        ("quantize/onnx_static.py", {QNN, RKNN, LITERT, ""}),
        ("targets/npu/__init__.py", {QNN, RKNN, LITERT}),
    ],
)
def test_what_a_change_makes_stale(changed, name: str, stale: set[str]) -> None:
    before = {module: own_code.own_code(*filter(None, [module])) for module in (QNN, RKNN, LITERT, "")}
    changed(name)
    after = {module: own_code.own_code(*filter(None, [module])) for module in before}
    assert {module for module in before if before[module] != after[module]} == stale


def test_a_target_of_another_distribution_may_stand_on_any_of_ours(changed) -> None:
    before = own_code.own_code("somebody.board")
    changed("targets/npu/rknn.py")
    assert own_code.own_code("somebody.board") != before


def test_several_targets_of_one_run_all_count(changed) -> None:
    before = own_code.own_code(QNN, RKNN)
    changed("targets/npu/rknn.py")
    assert own_code.own_code(QNN, RKNN) != before


def test_nothing_names_a_target_s_modules_but_targets() -> None:
    """What is left out of a key must be reached from the target alone."""
    kinds = own_code._KINDS
    found = {
        (name, other)
        for name in own_code._hashes()
        if not name.startswith("targets/")
        for other in own_code.named_modules(name)
        if other.startswith(kinds)
    }

    assert not found
