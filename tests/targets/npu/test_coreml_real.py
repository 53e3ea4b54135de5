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
]
# What coremltools has no value for.
UNFOLDED = {"LogSoftmax", "Pad", "LayerNormalization"}


def test_operators_have_onnx_runtimes_values(tmp_path: Path) -> None:
    """One graph of all cases, every input a constant: coremltools' own folding against ONNX Runtime."""
    import onnx
    import onnx_ir as ir
    import onnxruntime
    from onnx import helper, numpy_helper

    nodes, constants, names = [], [], []
    for index, (op, inputs, attributes) in enumerate(CASES):
        given = []
        for place, value in enumerate(inputs):
            given.append("" if value is None else f"c{index}_{place}")
            if value is not None:
                constants.append(numpy_helper.from_array(value, given[-1]))
        outputs = [f"y{index}_{place}" for place in range(2 if op == "Split" else 1)]
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
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = dict(zip(names, session.run(None, {}), strict=True))
    described = graphs.described(ir.from_proto(model), tmp_path / "constants.npz", "npu:coreml", "main")
    request = {
        "graph": described,
        "constants": str(tmp_path / "constants.npz"),
        "fold": str(tmp_path / "folded.npz"),
    }
    answer = coreml.ask(request, tmp_path, 200)
    op_of = {name: node.op_type for node in nodes for name in node.output}
    assert {op_of[name] for name in answer["unknown"]} <= UNFOLDED
    with np.load(tmp_path / "folded.npz") as folded:
        assert len(folded.files) > len(CASES) - len(UNFOLDED) - 3
        for name in folded.files:
            close = np.testing.assert_allclose
            close(folded[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=f"{op_of[name]} {name}")
            assert folded[name].shape == (expected[name].shape or (1,)), op_of[name]  # Core ML has no rank 0


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
