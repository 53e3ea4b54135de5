"""Small ONNX models with known results, for every test of the runtime folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.toolchain.program import Signature, TensorSpec

WIDTH, CLASSES = 256, 512


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((WIDTH, CLASSES)).astype(np.float32)


@pytest.fixture
def dense(weights: np.ndarray) -> Callable[..., onnx.ModelProto]:
    """y = softmax(relu(x W)), with x of shape [batch, 256]."""

    def build(dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        graph = helper.make_graph(
            [
                helper.make_node("MatMul", ["x", "W"], ["product"], name="mm"),
                helper.make_node("Relu", ["product"], ["positive"], name="relu"),
                helper.make_node("Softmax", ["positive"], ["y"], name="softmax"),
            ],
            "dense",
            [helper.make_tensor_value_info("x", dtype, ["batch", WIDTH])],
            [helper.make_tensor_value_info("y", dtype, ["batch", CLASSES])],
            [numpy_helper.from_array(weights.astype(helper.tensor_dtype_to_np_dtype(dtype)), "W")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    return build


@pytest.fixture
def signature() -> Signature:
    return Signature(
        inputs=(TensorSpec("x", "float32", ("batch", WIDTH)),),
        outputs=(TensorSpec("y", "float32", ("batch", CLASSES)),),
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)


@pytest.fixture
def expected(x: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of `dense` for `x`, in double precision."""
    product = x.astype(np.float64) @ weights.astype(np.float64)
    positive = np.maximum(product, 0)
    powers = np.exp(positive - positive.max(axis=1, keepdims=True))
    return {"product": product, "positive": positive, "y": powers / powers.sum(axis=1, keepdims=True)}


@pytest.fixture
def model_file(tmp_path: Path, dense: Callable[..., onnx.ModelProto]) -> Path:
    """One file, weights inside."""
    path = tmp_path / "dense.onnx"
    onnx.save(dense(), path)
    return path


@pytest.fixture
def external_file(tmp_path: Path, dense: Callable[..., onnx.ModelProto]) -> Path:
    """The same, weights in `dense.data` beside it."""
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "dense.onnx"
    onnx.save(dense(), path, save_as_external_data=True, location="dense.data", size_threshold=0)
    return path
