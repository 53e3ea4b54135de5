"""A rule of the toolkit's optimizer that fails is switched off, by its own advice; other errors stay errors."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from edgepack.toolchain.vendors import _rknn_worker as worker


class Toolkit:
    """As 2.5.0 behaves: a failing rule is named in the log, then the build raises."""

    failing: tuple[str, ...] = ()
    log: Path
    configs: list[dict[str, Any]]

    def __init__(self, verbose: bool) -> None:
        self.off: list[str] = []
        assert verbose

    def config(self, target_platform: str, disable_rules: tuple[str, ...] = (), **config: Any) -> int:
        self.off = list(disable_rules)
        self.configs.append({**config, "target_platform": target_platform})
        return 0

    def load_onnx(self, model: str) -> int:
        assert model == "m.onnx"
        return 0

    def build(self, do_quantization: bool, dataset: str | None) -> int:
        assert not do_quantization
        assert dataset is None
        for rule in self.failing:
            if rule not in self.off:
                with self.log.open("a") as log:
                    log.write(
                        f"W You can add disable_rules=['{rule}'] in rknn.config() to temporarily disable it\n"
                    )
                raise ValueError("assignment destination is read-only")
        if self.failing[-1:] == ("",):
            raise ValueError("the graph is wrong")
        return 0


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Toolkit]:
    class Mine(Toolkit):
        log = tmp_path / "log.txt"
        configs: list[dict[str, Any]] = []  # noqa: RUF012 - of this test's class alone

    Mine.log.write_text("")
    api = types.ModuleType("rknn.api")
    api.RKNN = Mine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rknn", types.ModuleType("rknn"))
    monkeypatch.setitem(sys.modules, "rknn.api", api)
    return Mine


def request(toolkit: type[Toolkit], **config: Any) -> dict[str, Any]:
    return {
        "log": str(toolkit.log), "dtype": None, "platform": "rk3588", "model": "m.onnx", "config": config,
        "samples": None, "inputs": [],
    }  # fmt: skip


def test_rules_that_fail_are_switched_off_one_after_another(toolkit: type[Toolkit]) -> None:
    toolkit.failing = ("fuse_a", "swap_b")
    made, without = worker.built(request(toolkit))
    assert without == ["fuse_a", "swap_b"]
    assert made.off == without
    assert len(toolkit.configs) == 3


def test_what_is_known_to_fail_is_off_from_the_beginning(toolkit: type[Toolkit]) -> None:
    toolkit.failing = ("fuse_a",)
    _, without = worker.built(request(toolkit, disable_rules=["fuse_a"], quantized_method="layer"))
    assert without == ["fuse_a"]
    assert toolkit.configs == [{"quantized_method": "layer", "target_platform": "rk3588"}]


def test_an_error_without_advice_stays_one(toolkit: type[Toolkit]) -> None:
    toolkit.log.write_text("W You can add disable_rules=['of_another_build']\n")
    toolkit.failing = ("fuse_a", "")
    with pytest.raises(ValueError, match="the graph is wrong"):
        worker.built(request(toolkit, disable_rules=["fuse_a", ""]))


def test_advice_that_does_not_help_is_followed_once(
    toolkit: type[Toolkit], monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkit.failing = ("fuse_a",)
    monkeypatch.setattr(toolkit, "config", lambda *_, **__: 0)  # the toolkit does not listen
    with pytest.raises(ValueError, match="read-only"):
        worker.built(request(toolkit))
