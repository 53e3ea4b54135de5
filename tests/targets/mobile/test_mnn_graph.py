"""What is written otherwise for MNN, and what it is known to compute wrongly: asked of the real one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from edgepack.runtime.sessions.mnn import MnnSession
from edgepack.targets.base import Context
from edgepack.targets.mobile import mnn as target
from edgepack.targets.mobile._mnn_graph import ready
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec

CONTEXT = Context(source={}, sizes={}, time_limit_s=120)
needs_mnn = pytest.mark.skipif(
    importlib.util.find_spec("_mnncengine") is None, reason="the extra mnn is not installed"
)
RANDOM = np.random.default_rng(0)
CACHE = """net (float[b, 2, c, 4] cache, int64[b, 2, s, 4] slot, float[b, 2, s, 4] new) => (float[b, 2, c, 4] y)
    {{ y = ScatterElements <reduction = "{}", axis = 2> (cache, slot, new) }}"""
WRITTEN = {
    "cache": RANDOM.standard_normal((1, 2, 5, 4)).astype(np.float32),
    "slot": np.broadcast_to(np.array([3, 1])[:, None], (1, 2, 2, 4)).copy(),
    "new": RANDOM.standard_normal((1, 2, 2, 4)).astype(np.float32),
}


def graph(text: str) -> ir.Model:
    """A model from ONNX's own notation."""
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


def by_mnn(model: ir.Model, feeds: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """What MNN computes of a graph, as it stands."""

    def specs(values: list[ir.Value]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                str(value.name),
                value.dtype.numpy().name if value.dtype else "",
                tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape or ()),
            )
            for value in values
        )

    signature = Signature(specs(list(model.graph.inputs)), specs(list(model.graph.outputs)))
    ir.save(model, folder / "main.onnx")
    lowered = Lowered("main", "onnx", folder / "main.onnx", signature)
    target.convert(lowered, CONTEXT, folder / "main.mnn", ())
    with MnnSession(folder / "main.mnn", signature) as session:
        return session.run(feeds)


def by_onnx(model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX says that a graph computes."""
    names = [str(value.name) for value in model.graph.outputs]
    made = ReferenceEvaluator(ir.serde.serialize_model(model)).run(names, feeds)
    return dict(zip(names, made, strict=True))


@needs_mnn
def test_a_cache_is_written_along_its_own_axis(tmp_path: Path) -> None:
    model = graph(CACHE.format("none"))
    wanted = by_onnx(model, WRITTEN)["y"]
    assert not np.array_equal(by_mnn(model, WRITTEN, tmp_path)["y"], wanted), (
        "MNN reads the axis now: no rewrite needed"
    )
    ready(model, "main")
    np.testing.assert_array_equal(by_onnx(model, WRITTEN)["y"], wanted)
    np.testing.assert_array_equal(by_mnn(model, WRITTEN, tmp_path)["y"], wanted)


@needs_mnn
@pytest.mark.parametrize("operator", ["ScatterElements", "ScatterND"])
def test_mnn_forgets_what_scattered_values_are_combined_by(operator: str, tmp_path: Path) -> None:
    elements = operator == "ScatterElements"
    attributes = f'{"axis = 0, " if elements else ""}reduction = "add"'
    model = graph(
        f"net (float[5, 3] d, int64[2, {3 if elements else 1}] i, float[2, 3] u) => (float[5, 3] y)"
        f"{{ y = {operator} <{attributes}> (d, i, u) }}"
    )
    feeds = {
        "d": RANDOM.standard_normal((5, 3)).astype(np.float32),
        "i": np.broadcast_to(np.array([[3], [1]]), (2, 3 if elements else 1)).copy(),
        "u": RANDOM.standard_normal((2, 3)).astype(np.float32),
    }
    wanted = by_onnx(model, feeds)["y"]
    assert not np.allclose(by_mnn(model, feeds, tmp_path)["y"], wanted), "MNN combines now: refuse it no more"
    with pytest.raises(TargetError, match=rf"MNN computes {operator} without its reduction.*'add'.*main, y"):
        ready(model, "main")
