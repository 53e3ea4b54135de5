"""cpu:onnxruntime: which precisions it offers, what it writes, and how it tunes the graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.targets.base import Context, targets
from edgepack.targets.cpu import onnxruntime as module
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.parity import default_gate
from edgepack.toolchain.program import Lowered, Part, Program, Signature
from edgepack.toolchain.recipe import PRECISIONS

CONTEXT = Context(source={}, sizes={})


def part(folder: Path, kind: str) -> Part:
    """A network of convolutions ("conv"), of products with a residual ("linear"), or of neither ("none")."""
    rng = np.random.default_rng(0)
    nodes = {
        "conv": [
            helper.make_node("Conv", ["x", "filters"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("Gemm", ["f", "classes"], ["y"]),
        ],
        "linear": [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["mb"]),
            helper.make_node("LayerNormalization", ["mb", "g"], ["n"]),
            helper.make_node("MatMul", ["n", "w"], ["m2"]),
            helper.make_node("Add", ["m2", "b"], ["m2b"]),
            helper.make_node("Add", ["m2b", "n"], ["r"]),
            helper.make_node("LayerNormalization", ["r", "g"], ["y"]),
        ],
        "none": [helper.make_node("Tanh", ["x"], ["y"])],
    }[kind]
    shapes = {"filters": (8, 8, 3, 3), "classes": (8 * 64, 10), "w": (64, 64), "b": (64,), "g": (64,)}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(
                "x", TensorProto.FLOAT, ["n", 8, 8, 8] if kind == "conv" else ["n", "s", 64]
            )
        ],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, ["n", 10] if kind == "conv" else ["n", "s", 64]
            )
        ],
        [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
            for name, shape in shapes.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(
        onnx.shape_inference.infer_shapes(model), path, save_as_external_data=True, location="weights.bin"
    )
    return Part("main", path, Signature((), ()))


def lower(folder: Path, kind: str) -> Lowered:
    source = part(folder / "program", kind)
    lowered = module.OnnxRuntimeCpu().lower(Program({"main": source}), source, CONTEXT, folder / "lowered")
    lowered.save(folder / "lowered")  # its file lies in the folder
    return lowered


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"x": x})[0])


def offers(tmp_path: Path, kind: str, rows: int | None = None) -> dict[str, str | None]:
    made = module.OnnxRuntimeCpu().offers(lower(tmp_path, kind), rows)
    return {offer.precision: offer.not_built for offer in made}


def test_is_registered():
    assert targets.get("cpu:onnxruntime") is module.OnnxRuntimeCpu
    assert module.OnnxRuntimeCpu().missing() == []


def test_convolutions_get_no_dynamic_int8(tmp_path):
    found = offers(tmp_path, "conv")
    assert next(iter(found)) == "int8-static"
    assert "convolutions" in (found["int8-dynamic"] or "")
    assert found["int8-static"] is None
    assert found["fp32"] is None


def test_products_get_dynamic_int8_first(tmp_path):
    found = offers(tmp_path, "linear")
    assert [name for name, not_built in found.items() if not_built is None] == [
        "int8-dynamic",
        "int8-static",
        "fp32",
    ]
    assert all("by name" in (found[name] or "") for name in ("fp16-weights", "bf16-weights", "fp16"))
    assert all("up to 4 rows" in (found[name] or "") for name in ("int4-weights", "int8-weights"))


@pytest.mark.parametrize(("rows", "built"), [(1, True), (4, True), (5, False), (128, False), (None, False)])
def test_weight_only_forms_are_for_few_rows(tmp_path, rows, built):
    found = offers(tmp_path, "linear", rows)
    for name in ("int4-weights", "int8-weights"):
        assert (found[name] is None) == built
        assert built or str(rows or "unknown") in (found[name] or "")
    assert "int4-weights" not in offers(tmp_path, "conv", rows)


def test_the_precisions_of_all_offers_are_ones_that_a_recipe_can_name_and_have_a_gate(tmp_path):
    for kind in ("conv", "linear", "none"):
        for name in offers(tmp_path, kind):
            assert name in PRECISIONS
            assert default_gate(name)


def test_nothing_to_quantize(tmp_path):
    found = offers(tmp_path, "none")
    assert found["fp32"] is None
    assert found["int8-dynamic"]
    assert found["int8-static"]


@pytest.mark.parametrize("limit", [module.ONE_FILE_BYTES, 1024])
def test_one_file_or_two(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(module, "ONE_FILE_BYTES", limit)
    lowered = lower(tmp_path, "linear")
    made = module.OnnxRuntimeCpu().compile(lowered, CONTEXT, tmp_path / "out")
    assert made.files == (("main.onnx",) if limit > 1024 else ("main.onnx", "main.onnx.data"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(made.files)
    assert made.placement.accelerator == 0
    assert made.placement.cpu == 7
    assert made.tool.version == onnxruntime.__version__
    x = np.random.default_rng(0).normal(size=(2, 5, 64)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "out" / made.run_file, x), run(lowered.path, x), atol=1e-5)


def test_residual_additions_are_not_fused_and_biases_are_left(tmp_path):
    made = module.OnnxRuntimeCpu().compile(lower(tmp_path, "linear"), CONTEXT, tmp_path / "out")
    model = onnx.load(tmp_path / "out" / made.run_file)
    assert [n.output[0] for n in model.graph.node if n.op_type == "Sum"] == ["r"]
    assert [n.output[0] for n in model.graph.node if n.op_type == "Add"] == ["mb", "m2b"]
    assert made.notes == ("1 additions kept out of a fused kernel that is slower than its parts",)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "out" / made.run_file, options)
    operators = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "SkipLayerNormalization" not in operators


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(TargetError, match="tflite"):
        module.OnnxRuntimeCpu().compile(
            Lowered("main", "tflite", tmp_path / "x.tflite", Signature((), ())), CONTEXT, tmp_path / "out"
        )


def test_importing_it_and_its_quantizers_imports_nothing_heavy():
    code = (
        "import sys, edgepack.targets.cpu.onnxruntime, edgepack.quantize.onnx_static, edgepack.quantize.onnx_dynamic;"
        "print([m for m in ('torch', 'transformers', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
