"""Images that are copied beside the NPU first: with the real Vela, where that saves time, and nothing else changed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Compiled, Context, targets
from edgepack.targets.npu._integer_ends import integer_ends
from edgepack.targets.npu._staged_image import stage_images
from edgepack.targets.npu.ethos_u import EthosU, EthosU55, EthosU85
from edgepack.toolchain import tflite
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.networks import Network

SIDE = 32


def convolutions(n: Network, x: str, channels: int = 3) -> str:
    x = n.op("Relu", n.conv(x, channels, 16, strides=[2, 2]))
    return n.op("Flatten", n.op("GlobalAveragePool", n.conv(x, 16, 16)))


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lowered, Network]:
    n = Network()
    made, (name,) = quantize.quantized(
        n.model(convolutions(n, n.input("image", 1, 3, SIDE, SIDE))), n.feeds, "int8"
    )
    folder = tmp_path_factory.mktemp("network")
    onnx.save(made, folder / "main.onnx")
    signature = Signature(
        (TensorSpec("image", "float32", (1, 3, SIDE, SIDE)),), (TensorSpec(name, "float32", (1, 16)),)
    )
    part = Part("main", folder / "main.onnx", signature)
    program = Program({"main": part}, source={"kind": "onnx"})
    return targets.get("npu:ethos-u85-512")().lower(program, part, Context({}, {}), folder / "lowered"), n


def compiled(target: EthosU, lowered: Lowered, folder: Path) -> tuple[Compiled, list[str]]:
    made = target.compile(lowered, Context({}, {}), folder)
    return made, [op.op for op in tflite.operators(tflite.read(folder / made.run_file))]


def notes(made: Compiled) -> list[str]:
    return [note for note in made.notes if "image" in note]


def test_it_is_kept_where_vela_estimates_less_time(lowered, tmp_path) -> None:
    plain, n = lowered
    (fast, codes), (slow, others) = (
        compiled(target, plain, tmp_path / target.accelerator.config) for target in (EthosU85(), EthosU55())
    )
    assert codes == ["MUL", *others]
    assert fast.placement.cpu == 0
    assert fast.placement.accelerator == slow.placement.accelerator + 1
    (note,) = notes(fast)
    assert note.startswith("Copied 1 x an image into the NPU's memory first: Vela estimates ")
    assert notes(slow) == []  # its activations lie in the SRAM that it reads anyway
    both = [
        tmp_path / chip / made.run_file for chip, made in (("ethos-u85-512", fast), ("ethos-u55-128", slow))
    ]
    results: list[np.ndarray] = []
    for path in both:
        with LitertSession(path, plain.signature) as session:
            results += session.run(n.feeds).values()
    np.testing.assert_array_equal(*results)


def test_what_vela_fails_on_is_left_out(lowered, tmp_path) -> None:
    script = tmp_path / "vela.py"
    script.write_text(
        "import runpy, sys\n"
        "if 'staged' in sys.argv[1]:\n"
        "    sys.exit('no such product')\n"
        "runpy.run_module('ethosu.vela', run_name='__main__')\n"
    )
    target = EthosU85()
    target.vela = (sys.executable, str(script))
    made, codes = compiled(target, lowered[0], tmp_path / "out")
    assert "MUL" not in codes
    (note,) = notes(made)
    assert note.startswith("Copying 1 x an image first is left out, for Vela fails on it: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted({*made.files, made.run_file})


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_no_integer_changes(kind, tmp_path) -> None:
    n = Network()
    made, (name,) = quantize.quantized(
        n.model(convolutions(n, n.input("image", 1, 3, SIDE, SIDE))), n.feeds, kind
    )
    harness.converted(made, tmp_path / "converted.tflite")
    before, after = tmp_path / "before.tflite", tmp_path / "after.tflite"
    model = tflite.read(tmp_path / "converted.tflite")
    assert stage_images(model) == 0  # it comes in float
    assert integer_ends(model) == 2
    tflite.write(model, before)
    assert stage_images(model) == 1
    tflite.write(model, after)
    limits = np.iinfo(kind)
    image = np.random.default_rng(0).integers(limits.min, limits.max, (1, 3, SIDE, SIDE), kind, endpoint=True)
    if kind == "int16":
        image = np.maximum(image, -limits.max)
    left, right = (harness.run(path, {"image": image}, [name])[0] for path in (before, after))
    assert left.std() > 0
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("channels", [3, 16])
def test_what_nothing_is_gained_by_stays(channels, tmp_path) -> None:
    n = Network()
    x = n.input("image", 1, channels, SIDE, SIDE)
    y = convolutions(n, x if channels == 16 else n.op("Add", x, x), channels)
    made, _ = quantize.quantized(n.model(y), n.feeds, "int8")
    harness.converted(made, tmp_path / "m.tflite")
    model = tflite.read(tmp_path / "m.tflite")
    integer_ends(model)
    assert stage_images(model) == 0


def test_rows_are_no_images(tmp_path) -> None:
    n = Network()
    made, _ = quantize.quantized(
        n.model(n.op("Gemm", n.input("x", 1, 8), n.weight((8, 5)), n.weight((5,)))), n.feeds, "int8"
    )
    harness.converted(made, tmp_path / "m.tflite")
    model = tflite.read(tmp_path / "m.tflite")
    assert integer_ends(model) == 2
    assert stage_images(model) == 0
