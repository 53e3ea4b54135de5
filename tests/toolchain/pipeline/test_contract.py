"""Targets that hand back nonsense fail by themselves, in words that name the method; others ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgepack
from edgepack.targets.base import Compiled, Offer
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import Placement, Tool

PLACEMENT, TOOL = Placement(accelerator=0, cpu=1), Tool(name="t", version="1")


def returns(value):
    def method(self, *args):
        return value

    return method


def compiles(*files, run_file="main.onnx"):
    def compile_(self, lowered, context, folder):
        (folder / "main.onnx").write_bytes(Path(lowered.path).read_bytes())
        return Compiled(files, run_file, PLACEMENT, TOOL)

    return compile_


def raises(error):
    def method(self, *args):
        raise error

    return method


@pytest.mark.parametrize(
    ("attributes", "said", "code"),
    [
        ({"session": "abacus"}, "session names the runtime 'abacus', which is not among", 4),
        ({"lower": returns(None)}, "lower returned NoneType None, and not a Lowered", 4),
        ({"lower": returns(Lowered("main", "onnx", Path("gone.onnx"), None))}, "names the file gone.onnx", 4),
        ({"offers": returns("fp32")}, "offers returned str 'fp32', and not a sequence of Offer", 4),
        ({"offers": returns(["fp32"])}, "offers returned str 'fp32' among its offers", 4),
        ({"offers": returns([])}, "offers offers nothing", 4),
        ({"offers": returns([Offer("int7")])}, "offers offers 'int7', which is not among", 4),
        ({"offers": returns([Offer("int8")])}, "offers offers 'int8', which is not among", 4),
        ({"offers": returns([Offer("fp32"), Offer("fp32")])}, "offers offers fp32 twice", 4),
        ({"offers": returns([Offer("fp16", "magic")])}, "names the quantizer 'magic'", 4),
        ({"compile": returns({"files": ["x"]})}, "compile returned dict", 4),
        ({"compile": compiles()}, r"compile ships tuple \(\), and not a tuple of one", 4),
        (
            {"compile": compiles("main.onnx", run_file="other.onnx")},
            "names the file 'other.onnx', and did not",
            4,
        ),
        ({"compile": compiles("../main.onnx")}, r"'\.\./main\.onnx', which is not in its folder", 4),
        ({"compile": compiles("/etc/hostname")}, "'/etc/hostname', which is not in its folder", 4),
        ({"lower": raises(KeyError("layer 3"))}, "Building npu:bad failed .KeyError: 'layer 3'", 1),
        ({"compile": raises(ZeroDivisionError("nothing"))}, "failed .ZeroDivisionError: nothing", 1),
    ],
)
def test_one_that_breaks_its_contract(model, tmp_path, cache, copy_target, attributes, said, code):
    good, bad = copy_target(), copy_target(name="npu:bad", lower_key=returns("bad"), **attributes)
    bundle = edgepack.export(
        model, targets=[good, bad], out=tmp_path / "out", cache=cache, measure=False, check=False
    )
    assert [artifact.target for artifact in bundle.artifacts] == [good]
    (failure,) = bundle.failures
    assert (failure.target, failure.exit_code) == (bad, code)
    assert re.search(said, failure.error), failure.error
    assert ("contract" in failure.error) == (code == 4)
