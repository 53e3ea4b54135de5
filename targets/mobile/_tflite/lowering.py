"""From a prepared ONNX graph to a TFLite graph, node by node.

Each ONNX value stands for one tensor. A real value may be held in integers with a scale; who asks for it `plain` gets
a DEQUANTIZE in front, or a constant in float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgepack.targets.mobile._tflite import dtypes, run_time
from edgepack.targets.mobile._tflite.base import NotInteger, NotServed, operators
from edgepack.targets.mobile._tflite.graph import Graph, Tensor, Values
from edgepack.targets.mobile._tflite.integers import Plan, parameters, plans, signed
from edgepack.targets.mobile._tflite.node import INSTEAD, Node
from edgepack.targets.mobile._tflite.prepare import ACTIVATION
from edgepack.targets.mobile._tflite.quantization import SIGNED, Quantization
from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.program import size_of

if TYPE_CHECKING:
    import onnx_ir as ir


_SHAPE_OF_INPUT = frozenset({"GroupNormalization", "RMSNormalization", "Swish"})
"""Operators whose shape onnx infers from their definition alone, which it does not always."""


class Lowering:
    """One graph on its way.

    Args:
        model: Prepared (see `prepare`), shapes inferred.
        examples: Sizes that open dimensions of inputs have until callers choose others; 1 for those without.

    Attributes:
        graph: What was made of it.
        opset: Version of the standard operators.
        in_float: Why nodes between quantized tensors are computed in float: reason -> how many.
    """

    def __init__(self, model: ir.Model, examples: Mapping[str, int] | None = None) -> None:
        self.graph = Graph()
        self.opset = model.graph.opset_imports.get("", 0)
        self.in_float: Counter[str] = Counter()
        self._model, self._examples = model, examples or {}
        self._tensors: dict[ir.Value, Tensor] = {}
        self._plain: dict[ir.Value, Tensor] = {}

    def run(self) -> Graph:
        """Translate everything.

        Raises:
            NotServed: An operator, or something that a node asks of it; the node and a cure are named.
        """
        self._refuse_unknown()
        for value in self._model.graph.inputs:
            if value.is_initializer() or not (value.uses() or value.is_graph_output()):
                continue
            tensor = self.graph.tensor(value.name or "", self.dtype(value), self.shape(value))
            tensor.example = self._example(value)
            self.graph.inputs[value.name or ""] = self._tensors[value] = tensor
        order = plans(self._model.graph)
        for node in self._model.graph:
            if standard(node, "DequantizeLinear"):
                self._dequantize(node)
            elif standard(node, "QuantizeLinear"):
                self._quantize(node)
            else:
                self._translate(node, order[node])
        for value in self._model.graph.outputs:
            self._output(value)
        return self.graph

    # Values

    def tensor(self, value: ir.Value) -> Tensor:
        """What holds a value, of integers with a scale where it is quantized."""
        if value not in self._tensors:
            self._tensors[value] = self._stored(value)
        return self._tensors[value]

    def plain(self, value: ir.Value) -> Tensor:
        """What holds a value in its own type; a DEQUANTIZE is appended where it is quantized."""
        tensor = self.tensor(value)
        if tensor.quantization is None or value.dtype is None or not value.dtype.is_floating_point():
            return tensor
        if value not in self._plain:
            self._plain[value] = self._dequantized(value, tensor, tensor.quantization)
        return self._plain[value]

    def is_constant(self, value: ir.Value) -> bool:
        """Whether a value is known now."""
        if value in self._tensors:
            return self._tensors[value].values is not None
        return value.const_value is not None and not value.is_graph_input()

    def bind(self, value: ir.Value, tensor: Tensor) -> None:
        """Say what holds a value."""
        self._tensors[value] = tensor

    def dtype(self, value: ir.Value) -> str:
        """The TFLite type of a value that is not quantized.

        Raises:
            NotServed: It has none.
        """
        found = dtypes.name(value.dtype)
        if found is None:
            shown = "unknown" if value.dtype is None else value.dtype.name.lower()
            raise NotServed(
                f"The value '{value.name}' is of the type {shown}, which TFLite's operators do not compute with",
                where=self._model.graph.name or "graph",
                todo="Export the model in float32",
            )
        return dtypes.narrowed(found)

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """A value's dimensions; -1 for one that callers choose.

        Raises:
            NotServed: It depends on what is computed.
        """
        producer = value.producer()
        if value.shape is None and producer is not None and producer.op_type in _SHAPE_OF_INPUT:
            return self.tensor(producer.inputs[0]).shape  # type: ignore[arg-type]
        if value.shape is None:
            raise NotServed(
                f"The shape of '{value.name}' is not known before the model runs",
                where=self._model.graph.name or "graph",
                todo="Export the model with fixed sizes (--size NAME=N)",
            )
        return tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)

    def _example(self, value: ir.Value) -> tuple[int, ...]:
        """Dimensions of an input, sizes in the place of names."""
        found = []
        for dim in value.shape or ():
            name = dim if isinstance(dim, int) else dim.value or ""
            try:
                found.append(size_of(name, self._examples))
            except KeyError:
                found.append(1)
        return tuple(found)

    def _stored(self, value: ir.Value) -> Tensor:
        tensor = value.const_value
        if tensor is None:
            raise NotServed(
                f"The value '{value.name}' is read before anything computes it",
                where=self._model.graph.name or "graph",
                todo="Check the model with onnx.checker",
            )
        found = dtypes.values(tensor)
        if found is None:
            self.dtype(value)
            raise NotServed(f"The constant '{value.name}' has no type that TFLite knows", todo=INSTEAD)
        return self.graph.constant(found, value.name or "constant")

    def _dequantized(self, value: ir.Value, tensor: Tensor, quantization: Quantization) -> Tensor:
        if tensor.values is not None:
            parts = (quantization.scales.tobytes(), quantization.zero_points.tobytes(), quantization.axis)
            real = tensor.values.derived(quantization.real, tensor.shape, ("real", *parts), "float32")
            return self.graph.constant(real, f"{value.name}/real")
        made = self.graph.tensor(f"{value.name}/real", "float32", tensor.shape)
        self.graph.add("DEQUANTIZE", [tensor], [made])
        return made

    # Nodes

    def _refuse_unknown(self) -> None:
        missing = Counter(
            (node.domain, node.op_type)
            for node in self._model.graph
            if node.domain not in {"", "ai.onnx"} or node.op_type not in operators
            if not standard(node, "QuantizeLinear", "DequantizeLinear")
        )
        if not missing:
            return
        from edgepack.targets.mobile._tflite.unserved import reason

        (domain, name), _ = missing.most_common(1)[0]
        node = next(n for n in self._model.graph if (n.domain, n.op_type) == (domain, name))
        others = [other for _, other in missing if other != name]
        more = f"; also missing: {', '.join(others)}" if others else ""
        label = node.name or next((v.name for v in node.outputs if v.name), name)
        raise NotServed(
            f"The ONNX operator {f'{domain}.' if domain else ''}{name} has no translation to TFLite: "
            f"{reason(domain, name)}{more}",
            where=f"node '{label}'",
            todo=INSTEAD,
        )

    def _translate(self, node: ir.Node, plan: Plan) -> None:
        member = operators.get(node.op_type)
        activation = node.meta.get(ACTIVATION)
        before, plain = len(self.graph.operators), dict(self._plain)
        if plan.integer is not None:
            try:
                member.run(Node(node, self, plan.integer, plan.results, activation))
            except NotInteger as reason:
                del self.graph.operators[before:]
                self._plain = plain  # what was dequantized in vain is not there any more
                self.in_float[f"{node.op_type}: {reason}"] += 1
            else:
                return
        member.run(Node(node, self, None, (None,) * len(node.outputs), activation))

    def _dequantize(self, node: ir.Node) -> None:
        made = node.outputs[0]
        source, dtype, quantization = _carried(node)
        tensor = self.tensor(source)
        if tensor.values is not None and tensor.quantization is None:
            self.bind(made, self._integer_constant(tensor, tensor.values, source, dtype, quantization))
        elif tensor.quantization is not None and quantization.same(tensor.quantization):
            self.bind(made, tensor)
        else:
            self.bind(made, self._typed(tensor, dtype, quantization, made.name or "dequantized"))

    def _integer_constant(
        self, tensor: Tensor, values: Values, source: ir.Value, dtype: str, quantization: Quantization
    ) -> Tensor:
        own = dtypes.name(source.dtype) or dtype
        if own in SIGNED:
            values = values.derived(lambda raw: signed(raw, own), tensor.shape, ("signed", own), dtype)
        return self.graph.constant(values, source.name or "weight", quantization)

    def _typed(self, tensor: Tensor, dtype: str, quantization: Quantization, name: str) -> Tensor:
        """Integers that come from outside, such as an input of uint8, as a tensor with a scale."""
        if tensor.quantization is None and tensor.dtype == dtype:
            tensor.quantization = quantization
            return tensor
        if tensor.quantization is None:  # uint8, which QUANTIZE turns into int8
            tensor.quantization = Quantization(
                quantization.scales, quantization.zero_points + SIGNED[tensor.dtype][1], quantization.axis
            )
        made = self.graph.tensor(name, dtype, tensor.shape, quantization)
        self.graph.add("QUANTIZE", [tensor], [made])
        return made

    def _quantize(self, node: ir.Node) -> None:
        made = node.outputs[0]
        source, dtype, quantization = _carried(node)
        tensor = self.tensor(source)
        if tensor.values is not None and tensor.quantization is None:  # a weight that came in float
            parts = (quantization.scales.tobytes(), quantization.zero_points.tobytes(), quantization.axis)
            values = tensor.values.derived(
                lambda real: quantization.integers(real, dtype), tensor.shape, ("integers", *parts), dtype
            )
            tensor = self.graph.constant(values, made.name or "quantized", quantization)
        elif tensor.dtype != dtype or not quantization.same(tensor.quantization):
            result = self.graph.tensor(made.name or "quantized", dtype, tensor.shape, quantization)
            self.graph.add("QUANTIZE", [tensor], [result])
            tensor = result
        self.bind(made, tensor)

    def _output(self, value: ir.Value) -> None:
        tensor = self.plain(value)
        own = dtypes.name(value.dtype) or ""
        if own in SIGNED and tensor.quantization is not None:  # what the caller sees is unsigned
            q = tensor.quantization
            shifted = Quantization(q.scales, q.zero_points + SIGNED[own][1], q.axis)
            made = self.graph.tensor(f"{value.name}/unsigned", own, tensor.shape, shifted)
            self.graph.add("QUANTIZE", [tensor], [made])
            tensor = made
        taken = tensor in self.graph.outputs.values() or tensor in self.graph.inputs.values()
        if tensor.values is not None or taken:
            tensor = self._copy(tensor, value.name or "output")
        self.graph.outputs[value.name or ""] = tensor

    def _copy(self, tensor: Tensor, name: str) -> Tensor:
        """A tensor of its own: TFLite's outputs are computed, each once."""
        made = self.graph.tensor(name, tensor.dtype, tensor.shape, tensor.quantization)
        shape = tensor.shape if tensor.shape.count(-1) <= 1 else None
        target = (
            run_time.sizes(self.graph, tensor)
            if shape is None
            else self.graph.integers(shape, f"{name}/shape")
        )
        self.graph.add("RESHAPE", [tensor, target], [made])
        return made


def _carried(node: ir.Node) -> tuple[ir.Value, str, Quantization]:
    """What a QuantizeLinear or DequantizeLinear reads, and its integer type and parameters in TFLite.

    Raises:
        NotServed: Its scales cannot be a TFLite tensor's.
    """
    source, found = node.inputs[0], parameters(node)
    if source is None or found is None:
        raise NotServed(
            f"A {node.op_type} has scales that TFLite's tensors cannot carry (computed, or of blocks)",
            where=f"node '{node.name or node.outputs[0].name}'",
            todo="Quantize with one scale a tensor, or one for each channel",
        )
    return source, *found
