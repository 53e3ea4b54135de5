"""The tables of `edgepack bisect` in the terminal."""

from __future__ import annotations

import pytest

from edgepack.toolchain.blame.shown import short


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("/layer/MatMul", "/layer/MatMul"),
        ("aten/mm;aten/add;aten/view", "aten/mm (+2)"),
        (";aten/mm;", "aten/mm"),
        (";", ";"),
        ("", ""),
    ],
)
def test_joined_names_are_counted(name: str, cell: str) -> None:
    assert short(name) == cell


def test_a_long_name_keeps_its_ends() -> None:
    cell = short(f"model.{'x' * 400}.MatMul_7;other")
    assert cell.startswith("model.x")
    assert cell.endswith("x.MatMul_7 (+1)")
    assert len(cell) < 100
