"""A float model between QuantizeLinear and DequantizeLinear, as quantizers write them, from one call's values.

Every real value that is computed gets a pair, but for those that an activation alone reads; weights are int8, one
scale an output channel, biases int32 in the scale of their sums.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.targets.mobile.tflite import harness

_WEIGHTED = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}
_ACTIVATIONS = {"Relu", "Clip"}
_PLAIN_CONSTANTS = {*_ACTIVATIONS, "Resize"}


def quantized(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], kind: str, *, unsigned: bool = False
) -> tuple[onnx.ModelProto, dict[str, float]]:
    """The model in QDQ form, and the step of each of its outputs."""
    return _Quantize(model, feeds, kind, unsigned=unsigned).run()


class _Quantize:
    def __init__(
        self, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], kind: str, *, unsigned: bool
    ) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.kind, self.unsigned = kind, unsigned
        self.weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.values = _all_values(model, feeds)
        self.scales: dict[str, float] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.new: dict[str, onnx.TensorProto] = {}

    def run(self) -> tuple[onnx.ModelProto, dict[str, float]]:
        graph = self.model.graph
        readers: dict[str, list[str]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node.op_type)
        outputs = {value.name for value in graph.output}
        renamed: dict[str, str] = {}
        for value in graph.input:
            self._pair(value.name, renamed)
        for node in list(graph.node):
            if not node.input:  # a constant
                self.nodes.append(node)
                continue
            self._inputs(node, renamed)
            targets = list(node.output)
            for index, name in enumerate(targets):
                if name in outputs:
                    node.output[index] = f"{name}_real"
                    self.values[f"{name}_real"] = self.values[name]
            self.nodes.append(node)
            for name in targets:
                real = f"{name}_real" if name in outputs else name
                if set(readers.get(name, ["?"])) <= _ACTIVATIONS and name not in outputs:
                    continue
                self._pair(real, renamed, target=name if name in outputs else None)
        del graph.node[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.new.values())
        return self.model, {name: self.scales.get(f"{name}_real", 0.0) for name in outputs}

    def _inputs(self, node: onnx.NodeProto, renamed: dict[str, str]) -> None:
        own = list(node.input)
        for index, name in enumerate(own):
            real = name in self.weights and self.weights[name].dtype == np.float32
            if real and node.op_type not in _PLAIN_CONSTANTS:
                node.input[index] = self._weight(node, index, name, own)
            else:
                node.input[index] = renamed.get(name, name)

    def _pair(self, name: str, renamed: dict[str, str], target: str | None = None) -> None:
        array = self.values[name]
        if array.dtype != np.float32:
            if target:
                self.nodes.append(helper.make_node("Identity", [name], [target]))
            return
        scale, zero, dtype = harness.activation_parameters(array, self.kind, unsigned=self.unsigned)
        self._parameters(name, scale, np.asarray(zero, dtype))
        made = target or f"{name}_d"
        self.nodes.append(helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]))
        self.nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [made])
        )
        renamed[name] = made
        self.scales[name] = float(scale)

    def _weight(self, node: onnx.NodeProto, index: int, name: str, inputs: list[str]) -> str:
        array, own = self.weights[name], f"{name}_w{len(self.nodes)}"
        if index == 2:
            kernel = self.new[node.input[1].removesuffix("_d") + "_s"]
            scales = np.asarray(self.scales[inputs[0]] * numpy_helper.to_array(kernel), np.float32)
            raw: np.ndarray = np.clip(np.rint(array / scales), -(2**30), 2**30).astype(np.int32)
            zeros, axis = np.zeros(scales.shape, np.int32), 0
        else:
            place = _WEIGHTED.get(node.op_type) if index == 1 else None
            if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
                place = 0
            place = place if array.ndim > 1 else None
            if self.kind == "int16" and node.op_type not in _WEIGHTED:
                scales = np.float32(np.abs(array).max() / 32767)
                raw, zeros = np.rint(array / scales).astype(np.int16), np.zeros((), np.int16)
            else:
                scales, raw = harness.weight_parameters(array, place)
                zeros = np.zeros(np.shape(scales), np.int8)
            axis = place or 0
        self._parameters(own, scales, zeros)
        self.new[f"{own}_q"] = numpy_helper.from_array(raw, f"{own}_q")
        self.nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{own}_q", f"{own}_s", f"{own}_z"], [f"{own}_d"], axis=axis
            )
        )
        return f"{own}_d"

    def _parameters(self, name: str, scale: np.ndarray, zero: np.ndarray) -> None:
        self.new[f"{name}_s"] = numpy_helper.from_array(np.asarray(scale, np.float32), f"{name}_s")
        self.new[f"{name}_z"] = numpy_helper.from_array(zero, f"{name}_z")


def _all_values(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Everything that one call computes, by name."""
    whole = onnx.shape_inference.infer_shapes(model)
    known = {value.name for value in whole.graph.output}
    names = [n for node in model.graph.node for n in node.output if n not in known]
    infos = {value.name: value for value in whole.graph.value_info}
    whole.graph.output.extend(infos[n] for n in names)
    values = harness.expected(whole, feeds)
    found = dict(zip([value.name for value in whole.graph.output], values, strict=True))
    return found | dict(feeds)
