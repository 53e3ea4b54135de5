"""A small ONNX model, and targets that behave and misbehave as they are told."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgepack.quantize.base import Quantizer, quantizers
from edgepack.targets.base import Compiled, Offer, Requirement, Target, targets
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import NodeReason, Placement, Tool


@pytest.fixture
def model(tmp_path):
    """x [batch, 8] -> relu(x @ w1) @ w2: [batch, 4]."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape, np.float32) for name, shape in (("w1", (8, 16)), ("w2", (16, 4)))
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path / "cache") as store:
        yield store


class CopyTarget(Target):
    """Copies the ONNX file; subclasses misbehave."""

    name = "cpu:copy"
    title = "a copy"
    session = "onnxruntime"
    precisions = ("fp32",)

    def requirements(self):
        return [Requirement("onnxruntime", "pip install edgepack")]

    def lower_key(self):
        return "copy"

    def lower(self, program, part, context, folder):  # noqa: ARG002 - the interface
        for file in part.path.parent.glob(f"{part.path.name}*"):
            shutil.copy(file, folder)
        return Lowered(part.name, "onnx", folder / part.path.name, part.signature)

    def offers(self, lowered, rows=None):  # noqa: ARG002 - the interface
        return [
            Offer(p, None if p == "fp32" else "noise", {} if p == "fp32" else {"level": LEVELS[p]})
            for p in self.precisions
        ]

    def compile(self, lowered, context, folder):  # noqa: ARG002 - the interface
        for file in lowered.path.parent.glob(f"{lowered.path.name}*"):
            shutil.copy(file, folder)
        placement = Placement(
            accelerator=2, cpu=1, reasons=[NodeReason(node="n", op="Relu", reason="not here", cure="none")]
        )
        return Compiled((lowered.path.name,), lowered.path.name, placement, Tool(name="copy", version="1"))


LEVELS = {"int8-dynamic": 0.001, "int8-static": 0.9}


class Noise(Quantizer):
    """Adds noise to the weights: a quantizer whose error can be chosen."""

    format = "onnx"
    static = True
    calls: list[Any] = []  # noqa: RUF012 - shared on purpose: counts over instances

    def quantize(self, lowered, precision, data, folder, **options):  # noqa: ARG002 - the interface
        import onnx

        Noise.calls.append(precision)
        model = onnx.load(lowered.path)
        rng = np.random.default_rng(1)
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.dtype != np.float32:
                continue
            noisy = value + options["level"] * rng.standard_normal(value.shape, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(np.float32), tensor.name))
        onnx.save(model, folder / "main.onnx")
        return lowered.quantized(folder / "main.onnx", precision, 2)


@pytest.fixture
def add_target(monkeypatch):
    """Register a target class for one test."""
    Noise.calls.clear()
    quantizers.names()
    monkeypatch.setitem(quantizers._members, "noise", Noise)

    def add(kind: type[Target]) -> str:
        targets.names()
        monkeypatch.setitem(targets._members, kind.name, kind)
        return kind.name

    return add


@pytest.fixture
def copy_target(add_target):
    """Register a CopyTarget with given class attributes and methods."""

    def add(**attributes: Any) -> str:
        name: str = add_target(type("Copy", (CopyTarget,), attributes))
        return name

    return add
