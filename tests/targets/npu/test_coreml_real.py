"""npu:coreml by the real coremltools, where its isolated environment has been made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepack
from edgepack.targets.base import Context, targets
from edgepack.targets.npu import _coreml_graph as graphs
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.vendors import coreml
from tests.qnn_models import network

READY = coreml.ENVIRONMENT.state() == "ready"
pytestmark = [
    pytest.mark.skipif(not READY, reason=f"no isolated environment 'coreml': {coreml.SETUP} makes it"),
    pytest.mark.slow,
]
CONTEXT = Context(source={}, sizes={}, time_limit_s=200)
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = normal(2, 3, 4)
TRUTH = X > 0
ASYMMETRIC = {
    "mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric",
}  # fmt: skip
DOUBLED = {"strides": [2, 2], "pads": [1, 1, 2, 2], "output_padding": [1, 1]}


def rows(*places: int) -> np.ndarray:
    """Indices of whole rows of [2, n, 4]."""
    return np.broadcast_to(ints(*places)[:, None], (2, len(places), 4)).copy()


# Operator, its inputs, its attributes: everything a constant, so that coremltools folds it.
CASES: list[tuple[str, list[np.ndarray | None], dict[str, Any]]] = [
    *(
        (name, [X], {})
        for name in ("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Abs", "Floor", "Ceil", "Sin", "Cos")
    ),
    *((name, [X], {}) for name in ("Round", "Sign", "Softplus", "Softsign", "Neg", "Reciprocal", "Identity")),
    *((name, [np.abs(X) + 0.1], {}) for name in ("Sqrt", "Log")),
    *((name, [X, normal(3, 1)], {}) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")),
    *((name, [X, normal(3, 1)], {}) for name in ("Less", "Greater", "LessOrEqual", "GreaterOrEqual")),
    ("Equal", [X, X], {}),
    *((name, [TRUTH, ~TRUTH], {}) for name in ("And", "Or", "Xor")),
    ("Not", [TRUTH], {}),
    ("Pow", [np.abs(X), np.array(1.5, np.float32)], {}),
    ("Where", [TRUTH, X, normal(4)], {}),
    ("Where", [TRUTH, np.array(0.5, np.float32), np.array(-2, np.float32)], {}),
    ("Clip", [X, np.array(-0.3, np.float32), np.array(0.4, np.float32)], {}),
    ("Clip", [X, None, np.array(0.4, np.float32)], {}),
    ("LeakyRelu", [X], {"alpha": 0.2}),
    ("Elu", [X], {"alpha": 0.7}),
    ("HardSigmoid", [X], {"alpha": 0.3}),
    ("HardSwish", [X], {}),
    ("Cast", [X * 3], {"to": 7}),
    ("Cast", [TRUTH], {"to": 1}),
    ("Reshape", [X, ints(2, -1)], {}),
    ("Flatten", [X], {"axis": 2}),
    ("Squeeze", [normal(2, 1, 3), ints(1)], {}),
    ("Unsqueeze", [X, ints(0, 2)], {}),
    ("Transpose", [X], {"perm": [2, 0, 1]}),
    ("Transpose", [X], {}),
    ("Expand", [normal(3, 1), ints(2, 3, 4)], {}),
    ("Concat", [X, normal(2, 5, 4)], {"axis": 1}),
    ("Slice", [X, ints(0, -3), ints(9, 2**63 - 1), ints(1, 2), ints(2, 1)], {}),
    ("Gather", [X, ints(2, 0)], {"axis": 1}),
    ("Softmax", [X], {"axis": 1}),
    ("LogSoftmax", [X], {"axis": 2}),
    *((name, [X], {"keepdims": 0}) for name in ("ReduceMean", "ReduceMax", "ReduceMin")),
    ("ReduceSum", [X, ints(0, 2)], {}),
    ("ReduceMean", [X, ints(-1)], {"keepdims": 0}),
    ("ReduceL2", [X, ints(1)], {}),
    ("ArgMax", [X], {"axis": 2, "keepdims": 0}),
    ("MatMul", [X, normal(4, 5)], {}),
    ("Gemm", [normal(4, 3), normal(5, 4), normal(5)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [normal(3, 4), normal(4, 5)], {}),
    ("LayerNormalization", [X, normal(4), normal(4)], {"axis": -1, "epsilon": 1e-3}),
    ("LayerNormalization", [X, normal(3, 4)], {"axis": 1}),
    ("Split", [X, ints(1, 2)], {"axis": 1}),
    ("Pad", [X, ints(0, 1, 2, 0, 0, 1), np.array(0.5, np.float32)], {}),
    ("ScatterElements", [normal(2, 5, 4), rows(1, -2), normal(2, 2, 4)], {"axis": 1}),
    ("GatherElements", [normal(2, 5, 4), rows(4, 0)], {"axis": 1}),
    ("ScatterND", [normal(6, 4), ints(5, 0)[:, None], normal(2, 4)], {}),
    ("GatherND", [normal(6, 4), ints(5, 0, 2)[:, None]], {}),
    ("TopK", [X, ints(2)], {"axis": 1}),
    ("TopK", [X, ints(3)], {"axis": -1, "largest": 0}),
    ("Tile", [X, ints(1, 2, 3)], {}),
    ("Trilu", [normal(2, 4, 4)], {}),
    ("Trilu", [normal(2, 4, 5), np.array(-1, np.int64)], {"upper": 0}),
    ("Mod", [ints(-7, 7, 8), ints(3, -3, 3)], {}),
    ("Range", [np.array(2, np.int64), np.array(9, np.int64), np.array(3, np.int64)], {}),
    ("Shape", [normal(2, 3, 5)], {"start": 1}),
    ("Resize", [normal(1, 2, 3, 4), None, np.array([1, 1, 2, 3], np.float32)], ASYMMETRIC),
    ("Resize", [normal(1, 2, 4), None, np.array([1, 1, 2], np.float32)], {"mode": "nearest"}),
    ("Resize", [normal(1, 2, 3, 4), None, None, ints(1, 2, 5, 7)], {"mode": "linear"}),
    ("DepthToSpace", [normal(1, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", [normal(1, 8, 2, 3)], {"blocksize": 2}),
    ("SpaceToDepth", [normal(1, 2, 4, 6)], {"blocksize": 2}),
    ("ConvTranspose", [normal(1, 3, 4, 4), normal(3, 2, 4, 4), normal(2)], DOUBLED),
    ("ConvTranspose", [normal(1, 4, 5), normal(4, 1, 3)], {"group": 2, "strides": [3]}),
    *(
        ("InstanceNormalization", [normal(1, 3, *more), normal(3), normal(3)], {})
        for more in ((8,), (2, 2, 4))
    ),
]
# What coremltools has no value for: of these the shapes alone are held against ONNX's, by the worker.
UNFOLDED = {
    "LogSoftmax", "Pad", "LayerNormalization", "ScatterND", "GatherND", "GatherElements", "Resize", "DepthToSpace",
    "SpaceToDepth", "ConvTranspose", "InstanceNormalization",
}  # fmt: skip
REFUSED: list[tuple[str, list[np.ndarray | None], dict[str, Any], str]] = [
    ("Mod", [X, normal(4)], {"fmod": 1}, "the sign of the dividend"),
    (
        "ScatterElements",
        [X, ints(0)[:, None, None], normal(1, 1, 1)],
        {},
        "indices are narrower than its data",
    ),
    ("Resize", [normal(1, 2, 4, 4), None, None, ints(1, 2, 6, 6)], {}, "pixels a whole number of times"),
    (
        "ConvTranspose",
        [normal(1, 3, 4), normal(3, 2, 3)],
        {"strides": [2], "output_padding": [1]},
        "longer than what it computes",
    ),
]


def all_constant(cases: list[tuple[str, list[np.ndarray | None], dict[str, Any]]]) -> Any:
    """A graph of one node a case, every input a constant and every result an output, with ONNX's own shapes."""
    import onnx
    from onnx import helper, numpy_helper

    nodes, constants, names = [], [], []
    for index, (op, inputs, attributes) in enumerate(cases):
        given = []
        for place, value in enumerate(inputs):
            given.append("" if value is None else f"c{index}_{place}")
            if value is not None:
                constants.append(numpy_helper.from_array(value, given[-1]))
        outputs = [f"y{index}_{place}" for place in range(2 if op in {"Split", "TopK"} else 1)]
        nodes.append(helper.make_node(op, given, outputs, f"{op} {index}", **attributes))
        names += outputs
    graph = helper.make_graph(
        nodes, "cases", [], [helper.make_value_info(n, onnx.TypeProto()) for n in names], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    kinds = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    del model.graph.output[:]
    model.graph.output.extend(kinds[name] for name in names)
    return model


def test_operators_have_onnx_runtimes_values(tmp_path: Path) -> None:
    """One graph of all cases, every input a constant: coremltools' own folding against ONNX Runtime."""
    import onnx_ir as ir
    import onnxruntime

    model = all_constant(CASES)
    names = [output.name for output in model.graph.output]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = dict(zip(names, session.run(None, {}), strict=True))
    described = graphs.described(ir.from_proto(model), tmp_path / "constants.npz", "npu:coreml", "main")
    request = {
        "graph": described,
        "constants": str(tmp_path / "constants.npz"),
        "fold": str(tmp_path / "folded.npz"),
    }
    answer = coreml.ask(request, tmp_path, 200)
    op_of = {name: node.op_type for node in model.graph.node for name in node.output}
    assert {op_of[name] for name in answer["unknown"]} <= UNFOLDED
    with np.load(tmp_path / "folded.npz") as folded:
        assert len(folded.files) > len(CASES) - len(UNFOLDED) - 3
        for name in folded.files:
            close = np.testing.assert_allclose
            close(folded[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=f"{op_of[name]} {name}")
            assert folded[name].shape == (expected[name].shape or (1,)), op_of[name]  # Core ML has no rank 0


@pytest.mark.parametrize(("op", "inputs", "attributes", "why"), REFUSED)
def test_cases_without_translation_are_named_with_the_reason(
    op: str, inputs: list[np.ndarray | None], attributes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    import onnx_ir as ir

    model = ir.from_proto(all_constant([(op, inputs, attributes)]))
    described = graphs.described(model, tmp_path / "constants.npz", "npu:coreml", "main")
    request = {"graph": described, "constants": str(tmp_path / "constants.npz"), "fold": "not reached"}
    refused = coreml.ask(request, tmp_path, 200)["refused"]
    assert (refused["node"], refused["op"]) == (f"{op} 0", op)
    assert why in refused["why"]


def test_an_export_from_model_to_bundle(tmp_path: Path) -> None:
    bundle = edgepack.export(
        network(tmp_path / "model").path,
        targets="npu:coreml",
        out=tmp_path / "bundle",
        precision="fp16",
        calibration_samples=8,
    )
    (artifact,) = bundle.artifacts
    assert artifact.parity.unverified is not None
    assert artifact.latency is None
    assert {Path(name).name for name in artifact.files} == {"model.mlmodel", "weight.bin", "Manifest.json"}
    manifest = json.loads((bundle.path / "npu-coreml/main.mlpackage/Manifest.json").read_text())
    assert manifest["itemInfoEntries"]
    weights = next(bundle.path / name for name in artifact.files if name.endswith("weight.bin"))
    # 592 weights and more in 16 bits: the file is that and a header for each, not twice as much
    count = 8 * 3 * 9 + 16 * 8 * 9 + 160
    assert 2 * count <= weights.stat().st_size < 3 * count
    assert "gate passed" not in (bundle.path / "report.md").read_text()
    assert edgepack.verify(bundle.path).ok


def test_a_model_that_it_cannot_take(tmp_path: Path) -> None:
    target = targets.get("npu:coreml")()
    with pytest.raises(TargetError, match=r"no translation for Sinh: 1 node\(s\), sinh"):
        target.compile(network(tmp_path, foreign=True), CONTEXT, tmp_path / "out")
