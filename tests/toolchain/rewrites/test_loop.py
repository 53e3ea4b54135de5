"""The loop: what it adds, what it takes back, and that it ends."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.pipeline.rewriting import notes
from edgepack.toolchain.results import NodeReason, Placement
from edgepack.toolchain.rewrites.base import Cure, Device, Rewrite
from edgepack.toolchain.rewrites.loop import Analysis, improve

DEVICE = Device()


def member(name: str, *ops: str, first: bool = False) -> Rewrite:
    return Rewrite(name, "because", lambda *_: 1, tuple(Cure(op) for op in ops), first=lambda _: first)


def analysis(left: Mapping[str, int]) -> Analysis:
    """Operators of these kinds stay off, with so many multiplications each."""
    reasons = [NodeReason(node=op.lower(), op=op, reason="no", cure="") for op in left]
    return Analysis(
        Placement(accelerator=9, cpu=len(left), reasons=reasons), {op.lower(): n for op, n in left.items()}
    )


def test_a_rewrite_uncovers_the_need_for_another() -> None:
    known = [member("first", first=True), member("a", "GELU"), member("b", "ERF"), member("c", "DIV")]

    def analyse(names: tuple[str, ...]) -> Analysis:
        if "b" in names:
            return analysis({})
        return analysis({"ERF": 0}) if "a" in names else analysis({"GELU": 5})

    found = improve(analyse, DEVICE, known)
    assert found.names == ("first", "a", "b")
    assert [step.left for step in found.steps] == [(5, 1), (0, 1), (0, 0)]
    assert all(step.kept for step in found.steps)


def test_what_makes_it_worse_is_taken_back_and_the_rest_tried_alone() -> None:
    known = [member("good", "GELU"), member("bad", "GELU")]

    def analyse(names: tuple[str, ...]) -> Analysis:
        return analysis({"X": 100} if "bad" in names else {} if "good" in names else {"GELU": 1})

    found = improve(analyse, DEVICE, known)
    assert found.names == ("good",)
    assert [(step.names, step.kept) for step in found.steps] == [
        ((), True),
        (("good", "bad"), False),
        (("good",), True),
        (("good", "bad"), False),
    ]


def test_multiplications_count_before_operators() -> None:
    known = [member("split", "MATMUL")]

    def analyse(names: tuple[str, ...]) -> Analysis:
        return analysis({"A": 0, "B": 0} if names else {"MATMUL": 1000})

    assert improve(analyse, DEVICE, known).names == ("split",)


def test_it_ends_where_nothing_helps() -> None:
    calls: list[tuple[str, ...]] = []

    def analyse(names: tuple[str, ...]) -> Analysis:
        calls.append(names)
        return analysis({"GELU": 1})

    found = improve(analyse, DEVICE, [member(name, "GELU") for name in "abc"])
    assert (found.names, len(calls)) == ((), 5)  # as it came, all, each alone


def test_a_step_that_cannot_be_built_is_taken_back_with_its_reason() -> None:
    known = [member("good", "GELU"), member("crashes", "GELU")]

    def analyse(names: tuple[str, ...]) -> Analysis:
        if "crashes" in names:
            raise ToolchainFailedError("The compiler ran out of memory")
        return analysis({} if "good" in names else {"GELU": 1})

    found = improve(analyse, DEVICE, known)
    assert found.names == ("good",)
    assert [(step.left, step.kept) for step in found.steps] == [
        ((1, 1), True),
        (None, False),
        ((0, 0), True),
        (None, False),
    ]
    (said,) = notes(found)
    assert "nothing built with good, crashes (taken back: The compiler ran out of memory)" in said


def test_what_cannot_be_built_to_begin_with_is_an_error() -> None:
    def analyse(_: tuple[str, ...]) -> Analysis:
        raise ToolchainFailedError("The compiler crashed")

    with pytest.raises(ToolchainFailedError, match="crashed"):
        improve(analyse, DEVICE, [member("a", "GELU")])
