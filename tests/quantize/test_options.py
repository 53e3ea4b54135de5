"""Options: what a quantizer declares is what it checks, what a user may set, and what the docs list."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgepack.quantize.base import quantizers
from edgepack.quantize.onnx_static import StaticOptions
from edgepack.quantize.onnx_weights import WeightsOptions
from edgepack.quantize.options import Options, is_fixed, takes
from edgepack.toolchain.cli import app
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.recipe import make

ROOT = Path(__file__).resolve().parents[2]


def test_every_option_of_every_quantizer_is_described():
    for name, quantizer in quantizers.items():
        for option, field in quantizer.options_type.model_fields.items():
            assert field.description, (name, option)
            assert takes(field), (name, option)


def test_what_a_command_line_gives_becomes_what_a_quantizer_takes():
    asked = StaticOptions.of(
        {"operators": "MatMul, Gemm", "keep": "a,b", "percent": 99, "smooth": 0.5, "correct": False}, "q"
    )
    assert asked.operators == ("MatMul", "Gemm")
    assert asked.keep == ("a", "b")
    assert (asked.percent, asked.smooth, asked.correct, asked.ranges) == (99.0, 0.5, False, "middle")
    assert StaticOptions.of({"smooth": "outliers"}, "q").smooth == "outliers"


@pytest.mark.parametrize(
    ("kind", "values", "error", "words"),
    [
        (StaticOptions, {"range": "mse"}, UnknownNameError, r"option of q 'range'.*Did you mean 'ranges'"),
        (StaticOptions, {"ranges": "mze"}, UnknownNameError, r"'ranges' of q 'mze'.*Did you mean 'mse'"),
        (StaticOptions, {"operators": "Conv,Sin"}, UnknownNameError, r"'Sin'.*Sigmoid"),
        (StaticOptions, {"smooth": 1.5}, UsageError, r"'smooth' of q cannot be 1\.5.*a number or outliers"),
        (StaticOptions, {"smooth": True}, UsageError, "cannot be True"),
        (StaticOptions, {"symmetric": "perhaps"}, UsageError, r"'perhaps'.*true, false"),
        (WeightsOptions, {"block": 24}, UsageError, r"cannot be 24.*power of two"),
        (WeightsOptions, {"block": "big"}, UsageError, r"'big'.*a whole number"),
        (WeightsOptions, {"algorithm": "gtpq"}, UnknownNameError, r"Did you mean 'gptq'"),
        (Options, {"bits": 4}, UnknownNameError, "Known: none"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_what_is_right(kind, values, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        kind.of(values, "q")


def test_what_a_precision_stands_for_is_not_the_user_s():
    assert is_fixed(WeightsOptions.model_fields["bits"])
    with pytest.raises(
        UsageError, match="'bits' of onnx-weights is what the precision int4-weights stands for"
    ):
        WeightsOptions.check_asked({"bits": 8}, "onnx-weights", "int4-weights")
    WeightsOptions.check_asked({"block": 64}, "onnx-weights", "int4-weights")


@pytest.mark.parametrize("precision", ["auto", "fp32", "int8", "as-given"])
def test_options_need_one_named_precision(precision):
    with pytest.raises(UsageError, match=f"it is {precision} .*--precision int8-static"):
        make(model="m", precision=precision, quantize={"ranges": "mse"})
    assert make(model="m", precision="int8-static", quantize={"percent": 99.9}).quantize == {"percent": 99.9}


def test_the_command_line_says_what_is_no_option():
    done = CliRunner().invoke(app, ["export", "m", "--precision", "int8-static", "--quantize", "ranges"])
    assert done.exit_code == 2
    assert "not of the form name=value" in done.output


def test_the_docs_list_every_option():
    path = ROOT / "tools" / "quantizer_options_table.py"
    spec = importlib.util.spec_from_file_location("quantizer_options_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "quantization.md").read_text(encoding="utf-8")
    assert module.PLACE.put(text, module.tables()) == text, (
        f"run python {path.relative_to(ROOT)} docs/quantization.md"
    )
