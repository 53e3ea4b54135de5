"""Quantizers of what is left in float leave native operators alone, and targets that lack these refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.quantize.binary import convert, freeze
from edgepack.targets.base import Context, targets
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.native_operators import native_nodes
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.results import Calibration
from tests.quantize.binary.artifacts import FORMS, run, written
from tests.quantize.binary.networks import images, residual, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]
NODES = {"BinConv": 2, "BinLinear": 1}
SIGNATURE = Signature(
    (TensorSpec("images", "float32", (8, 3, 6, 6)),), (TensorSpec("scores", "float32", (8, 10)),)
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The file, cleaned, and torch's answer."""
    model = convert(residual(), "reactnet")[0]
    train(model, images())
    frozen = freeze(model)
    path = tmp_path_factory.mktemp("network") / "main.onnx"
    written(frozen, (images(),), path, input_names=["images"], output_names=["scores"])
    cleaned = ir.load(path)
    clean_up(cleaned)
    ir.save(cleaned, path)
    with torch.no_grad():
        return path, frozen(images()).numpy()


def test_clean_up_keeps_operators_and_their_functions(network):
    model = ir.load(network[0])
    assert native_nodes(model) == NODES
    assert {function.name for function in model.functions.values()} == set(NODES)
    assert already_quantized(model) is None


@pytest.mark.parametrize(
    ("name", "precision", "options"),
    [
        ("onnx-float16", "fp16", {"compute": "float16"}),
        ("onnx-float16", "fp16-weights", {"storage": "float16"}),
        ("onnx-static", "int8-static", {}),
    ],
)
def test_quantizers_leave_native_operators_alone(name, precision, options, network, library, tmp_path):
    path, expected = network
    feeds = [{"images": images().numpy()}]
    data = CalibrationData(
        Calibration(kind="user", description="the images", samples=1, held_out=1), feeds, feeds, "none"
    )
    made = quantizers.get(name)().quantize(
        Lowered("main", "onnx", path, SIGNATURE), precision, data, tmp_path, **options
    )
    before, after = ir.load(path), ir.load(made.path)
    assert native_nodes(after) == NODES
    for one, other in zip(_native(before), _native(after), strict=True):
        for was, now in zip(one.inputs[1:], other.inputs[1:], strict=True):
            np.testing.assert_array_equal(was.const_value.numpy(), now.const_value.numpy())
            assert was.const_value.dtype is now.const_value.dtype
    for native in FORMS.values():
        (found,) = run(made.path, [images().numpy()], native=native)
        cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine > 0.9, "bits near their threshold may flip where the float layers before are rounded"


def _native(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.domain == "edgepack"]


@pytest.mark.parametrize("name", ["cpu:openvino", "mobile:litert", "npu:ethos-u55-128"])
def test_targets_without_native_operators_refuse(name, network, tmp_path):
    if name not in targets:
        pytest.skip(f"{name} is not there")
    part = Part("main", network[0], SIGNATURE, [])
    program = Program({"main": part}, source={"kind": "factory", "location": "here"})
    with pytest.raises(
        TargetError, match=r"no operators of one bit, and the model holds 2 BinConv, 1 BinLinear"
    ):
        targets.get(name)().lower(program, part, Context({}, {}), tmp_path)
