"""nncase's text of its program: what runs where, in which shapes, and which nodes of the model that was."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.targets.npu._k230_program import CPU, KPU, named, parse, read
from edgepack.toolchain.errors import ToolchainFailedError
from tests.k230_models import PROGRAM


def test_operators_in_order() -> None:
    found = list(parse(PROGRAM))
    assert [(one.op, one.where) for one in found] == [
        ("TileAct1Case_0", KPU),
        ("Conv", CPU),
        ("TileConv2dCase_0", KPU),
        ("Mul", CPU),
        ("Softmax", CPU),
    ]
    assert found[0].shape == (1, 3, 16, 16)
    assert [one.macs for one in found] == [0, 16 * 27, 0, 0, 0]


@pytest.mark.parametrize(
    ("line", "op", "macs"),
    [
        ("MatMul(%a, %b): // f32[2,4,8]", "MatMul", 64 * 16),
        ("MatMul(%a, %unknown): // f32[2,4,8]", "MatMul", None),
        (
            "Conv2DTranspose(%c, const(f32[3,5,2,2]), const(f32[5])): // f32[1,5,8,8]",
            "ConvTranspose",
            48 * 20,
        ),
        ("Reduce(ReduceOp.Mean, %a, const(i64[1] : {1L})): // f32[2,4]", "ReduceMean", 0),
        ("Unary(UnaryOp.Sqrt, %a): // f32[2,4,16]", "Sqrt", 0),
        ("Split(%a, const(i64 : 0)): // (f32[1,4,16], f32[1,4,16])", "Split", 0),
    ],
)
def test_one_line(line: str, op: str, macs: int | None) -> None:
    head = "%main = fn(%a: f32[2,4,16], %b: f32[2,16,8], %c: f32[1,3,4,4]): // () -> f32[1]\n"
    (found,) = parse(f"{head}{{\n  %0 = {line}\n  %1 = (%0, %0): // (f32[1], f32[1])\n}}\n")
    assert (found.op, found.macs) == (op, macs)


@pytest.mark.parametrize(
    "line",
    [
        "Reshape(%a, const(i32[2] : {8,16})): // f32[8,16]",
        "Squeeze(%a, const(i64[1] : {0L})): // f32[4,16]",
        "Unsqueeze(%a, const(i64[1] : {0L})): // f32[1,2,4,16]",
        "GetItem(%a, const(i32 : 0)): // f32[4,16]",
    ],
)
def test_another_shape_for_the_same_memory_is_no_operator(line: str) -> None:
    head = "%main = fn(%a: f32[2,4,16]): // () -> f32[1]\n"
    assert list(parse(f"{head}{{\n  %0 = {line}\n}}\n")) == []


def test_names_of_the_models_nodes() -> None:
    nodes = [
        ("first", "Mul", (1, 3)),
        ("second", "Mul", (1, 1, 10)),
        ("third", "Mul", (1, 10)),
        ("last", "Softmax", (1, 10)),
        ("conv", "Conv", (1, 16, 1, 1)),
    ]
    found = named(list(parse(PROGRAM)), nodes)
    assert [one.node for one in found] == ["TileAct1Case_0#0", "conv", "TileConv2dCase_0#2", "second", "last"]
    assert [one.op for one in found if one.where == CPU] == ["Conv", "Mul", "Softmax"]
    assert named(list(parse(PROGRAM)), [])[-1].node == "Softmax#4"


def test_no_text_at_all(tmp_path: Path) -> None:
    with pytest.raises(ToolchainFailedError, match="wrote no text"):
        read(tmp_path, [(1, 10)])


@pytest.mark.parametrize(
    ("said", "shapes"),
    [
        ("f32[1,10]", [(1, 10)]),
        ("(f32[1,10], i64[2])", [(1, 10), (2,)]),
        ("(f32[1,10], f32)", [(1, 10), ()]),
    ],
)
def test_outputs_are_the_models(said: str, shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    folder = tmp_path / "7_TargetDependentAfterQuantPass" / "9_Fusion" / "main"
    folder.mkdir(parents=True)
    (folder / "End_main.il").write_text(PROGRAM.replace("-> f32[1,10]\n", f"-> {said}\n", 1))
    assert len(read(tmp_path, shapes)) == 5
    with pytest.raises(ToolchainFailedError, match=r"a program that gives arrays of .*, and the model gives"):
        read(tmp_path, [(10, 1), *shapes[1:]])
