"""The compiler's table of layers: read strictly, counted, and multiply-accumulate operations from its shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.targets.npu._rknn_accuracy import read_errors, worst
from edgepack.targets.npu._rknn_layers import Layer, placed, read_layers
from edgepack.toolchain.errors import NothingPlacedError, ToolchainFailedError
from edgepack.toolchain.results import Tool
from tests.rknn_models import TABLE, table

TOOL = Tool(name="rknn-toolkit2", version="2.5.0")


def layer(op: str, *shapes: tuple[int, ...], target: str = "NPU") -> Layer:
    *inputs, output = shapes
    return Layer(op, "INT8", target, tuple(inputs), output, 0, f"{op}:x")


def test_rows() -> None:
    layers = read_layers(table(*TABLE))
    assert [(one.op, one.target, one.cycles, one.name) for one in layers] == [
        ("ConvRelu", "NPU", 2304, "Conv:conv1"),
        ("Conv", "NPU", 576, "Conv:conv2"),
        ("Conv", "NPU", 784, "Conv:pool_2conv0"),
        ("Reshape", "CPU", 0, "Reshape:y_mm_tp_rs"),
    ]
    assert layers[0].inputs == ((1, 3, 16, 16), (8, 3, 3, 3), (8,))
    assert layers[0].output == (1, 8, 16, 16)


def test_a_layer_of_the_compilers_own_has_no_name() -> None:
    # As 2.5.0 wrote it for an input of one row that is added to scores.
    row = "3  Conv  INT16  NPU  (1,1,1,16),(1,1,1,1),(1)  (1,1,1,16)  16/32/32  0             "
    (found,) = read_layers(table(row))
    assert (found.name, found.cycles, found.macs) == ("Conv:#3", 32, 16)


def test_an_rk3576_has_a_column_more() -> None:
    row = "1  ConvRelu  INT16  NPU  (1,3,32,32),(64,3,3,3),(64)  (1,64,32,32)  19068/36864/36864  0%  11  Conv:c1 "
    (found,) = read_layers(table(row))
    assert (found.name, found.cycles) == ("Conv:c1", 36864)


def test_the_last_table_counts() -> None:
    log = table(*TABLE) + table(TABLE[0], TABLE[2], TABLE[-1])
    assert [one.name for one in read_layers(log)] == ["Conv:conv2"]


@pytest.mark.parametrize(
    ("log", "said"),
    [("", "logged no table"), (table("1  Conv  INT8"), "cannot be read: '1  Conv  INT8'")],
)
def test_what_cannot_be_read(log: str, said: str) -> None:
    with pytest.raises(ToolchainFailedError, match=said):
        read_layers(log)


def test_placement_and_cures() -> None:
    layers = [layer("Conv", (1,)), *(layer(op, (1,), target="CPU") for op in ("Gather", "Reshape", "exSinh"))]
    found = placed(layers, "rk3588", TOOL)
    assert (found.accelerator, found.cpu) == (1, 3)
    assert ["lookup" in reason.reason for reason in found.reasons] == [True, False, False]
    assert "layout" in found.reasons[1].reason
    assert "says no reason" in found.reasons[2].reason
    assert "exSinh" in found.reasons[2].cure
    with pytest.raises(NothingPlacedError, match="none of 3 layers") as caught:
        placed(layers[1:], "rk3588", TOOL)
    assert caught.value.placement.reasons == found.reasons


@pytest.mark.parametrize(
    ("found", "macs"),
    [
        (layer("ConvRelu", (1, 3, 16, 16), (8, 3, 3, 3), (8,), (1, 8, 16, 16)), 256 * 8 * 27),
        (layer("Conv", (1, 16, 8, 8), (1, 16, 7, 7), (16,), (1, 16, 2, 2)), 64 * 49),
        (layer("Conv", (1, 16, 1, 1), (1, 16, 1, 1), (1, 1, 1, 1)), 16),
        (layer("exMatMul", (12, 64, 32), (12, 32, 48), (12, 64, 48)), 12 * 64 * 32 * 48),
        (layer("exMatMul", (1, 12, 64, 32), (1, 12, 64, 32), (1, 12, 64, 64)), 12 * 64 * 64 * 32),
        (layer("exMatMul", (8, 64, 32), (32, 48), (8, 64, 48)), 8 * 64 * 32 * 48),
        (layer("exMatMul", (1, 7, 11), (5, 13), (1, 3, 2)), 0),
        (layer("Add", (1, 16, 4, 4), (1, 16, 4, 4), (1, 16, 4, 4)), 0),
        (layer("Reshape", (1, 16, 4, 4), ()), 0),
    ],
)
def test_multiplications(found: Layer, macs: int) -> None:
    assert found.macs == macs


def test_errors_of_layers(tmp_path: Path) -> None:
    file = tmp_path / "error_analysis.txt"
    assert read_errors(file) == []
    assert worst([]) is None
    file.write_text(
        "layer_name                          simulator_error\n"
        "[Input] x                  1.00000 | 0.00000   1.00000 | 0.00000       \n"
        "[Conv] c1                  \n"
        "[Relu] r1                  0.99995 | 0.30900   0.99996 | 0.30900       \n"
        "[Conv] c 2                 0.99989 | 0.55377   0.99993 | 0.45182       \n"
        "[Conv] c3                  nan | 0.55377   0.99993 | 0.45182       \n"
    )
    found = read_errors(file)
    assert [(one.op, one.name, one.cosine, one.single) for one in found] == [
        ("Relu", "r1", 0.99995, 0.99996),
        ("Conv", "c 2", 0.99989, 0.99993),
    ]
    assert str(worst(found, 1)).endswith("c 2 (Conv) 0.99993")


def test_the_two_products_of_fused_attention_are_counted() -> None:
    size = (12, 32, 1, 64)  # heads, their width, 1, tokens
    layer = Layer("exSDPAttention", "INT16", "NPU", (size, size), size, 0, "attention")
    assert layer.macs == 2 * 12 * 64 * 64 * 32
