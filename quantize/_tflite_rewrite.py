"""Rewrites float `.tflite` graphs into operators that integer NPUs have with 16-bit activations.

An NPU such as Arm's Ethos-U has no 16-bit GELU and (before U85) no division or square root, and the
quantizer has no 16-bit SQUARED_DIFFERENCE or ABS; each of them would break the graph into pieces that
travel between NPU and CPU. All of them can be said with products, sums, 1/sqrt and the logistic
function, s(v) = 1 / (1 + exp(-v)):

    (a - b)^2       =  d d                            with d = a - b
    gelu(x)         ~  x s(v)                         with v as in `toolchain.rewrites.gelu`
    |x| |x|         =  x x
    x / max(sqrt(s), e)  =  x / sqrt(max(s, e^2))     for e > 0
    x / max(n, e)   =  x r r                          with r = 1 / sqrt(max(n, e)), for e > 0

The second is off by 2.7e-5 at most, the others are exact up to rounding. Every result keeps its tensor's name; what is
computed on the way to it is called `<that name>/<what it is>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack.toolchain.rewrites.gelu import BOUND, COEFFICIENTS

Rewritten = list[Any]


class Graph:
    """The main graph of a `ModelT`, with the few edits that the rules need."""

    def __init__(self, model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.model, self.schema = model, schema
        self.graph = model.subgraphs[0]
        self.producer = {int(t): op for op in self.graph.operators for t in op.outputs}
        self.consumers: dict[int, list[Any]] = {}
        for op in self.graph.operators:
            for tensor in op.inputs:
                self.consumers.setdefault(int(tensor), []).append(op)

    def kind(self, op: Any) -> int:
        code = self.model.operatorCodes[op.opcodeIndex]
        return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))

    def made_by(self, tensor: int, kind: int) -> Any | None:
        """The operator of that kind that produces `tensor`, if one does."""
        op = self.producer.get(int(tensor))
        return op if op is not None and self.kind(op) == kind else None

    def scalar(self, tensor: int) -> float | None:
        """The value of a float constant of one element."""
        import numpy as np

        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        if data is None or self.graph.tensors[tensor].type != self.schema.TensorType.FLOAT32:
            return None
        values = np.frombuffer(bytes(data), dtype=np.float32)
        return float(values[0]) if values.size == 1 else None

    def is_float(self, op: Any) -> bool:
        return bool(self.graph.tensors[op.outputs[0]].type == self.schema.TensorType.FLOAT32)

    def constant(self, value: float, name: str) -> int:
        import numpy as np

        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.float32(value).tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        return self._tensor(name, [], len(self.model.buffers) - 1)

    def value(self, name: str, like: int) -> int:
        """A new float tensor of the shape of `like`."""
        return self._tensor(name, [int(n) for n in self._shape(like)], 0)

    def op(self, kind: str, inputs: list[int], output: int) -> Any:
        """A new operator, such as "MUL", without fused activation."""
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code(getattr(self.schema.BuiltinOperator, kind))
        made.inputs, made.outputs = inputs, [output]
        title = {"MAXIMUM": "MaximumMinimum"}.get(kind, kind.title())
        if hasattr(self.schema, f"{title}OptionsT"):
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, f"{title}Options")
            made.builtinOptions = getattr(self.schema, f"{title}OptionsT")()
        return made

    def like(self, op: Any, inputs: list[int], output: int) -> Any:
        """The same operator on other tensors."""
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = op.opcodeIndex, inputs, [output]
        made.builtinOptionsType, made.builtinOptions = op.builtinOptionsType, op.builtinOptions
        return made

    def name(self, tensor: int) -> str:
        name = self.graph.tensors[tensor].name
        return name.decode() if isinstance(name, bytes) else str(name)

    def binary(self, kind: str, left: int, right: int, like: int, name: str) -> tuple[Any, int]:
        output = self.value(name, like)
        return self.op(kind, [left, right], output), output

    def drop_unused(self) -> None:
        """Remove operators whose results nobody reads any more, then tensors that nobody touches."""
        graph = self.graph
        ends = {int(t) for t in graph.outputs}
        while True:
            read = {int(t) for op in graph.operators for t in op.inputs} | ends
            kept = [op for op in graph.operators if any(int(t) in read for t in op.outputs)]
            if len(kept) == len(graph.operators):
                break
            graph.operators = kept
        used = {
            int(t) for op in graph.operators for t in (*op.inputs, *op.outputs, *(op.intermediates or []))
        }
        used |= ends | {int(t) for t in graph.inputs}
        self._renumber({old: new for new, old in enumerate(sorted(used - {-1}))})

    def _renumber(self, numbers: dict[int, int]) -> None:
        """Keep only the tensors that are keys of `numbers`, under their new numbers."""
        graph, numbers = self.graph, {**numbers, -1: -1}
        graph.tensors = [tensor for index, tensor in enumerate(graph.tensors) if index in numbers]
        for op in graph.operators:
            op.inputs = [numbers[int(t)] for t in op.inputs]
            op.outputs = [numbers[int(t)] for t in op.outputs]
            op.intermediates = [numbers[int(t)] for t in op.intermediates or []]
        graph.inputs = [numbers[int(t)] for t in graph.inputs]
        graph.outputs = [numbers[int(t)] for t in graph.outputs]
        for signature in self.model.signatureDefs or []:
            if signature.subgraphIndex == 0:
                for entry in (*(signature.inputs or []), *(signature.outputs or [])):
                    entry.tensorIndex = numbers[int(entry.tensorIndex)]

    def _shape(self, tensor: int) -> Any:
        shape = self.graph.tensors[tensor].shape
        return [] if shape is None else shape

    def _tensor(self, name: str, shape: list[int], buffer: int) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), shape, buffer
        tensor.type = self.schema.TensorType.FLOAT32
        tensor.hasRank = True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _code(self, builtin: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if max(int(code.builtinCode), int(code.deprecatedBuiltinCode)) == builtin:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, 1
        code.deprecatedBuiltinCode = min(
            builtin, self.schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def rewrite_for_integer_npu(model: Any) -> dict[str, int]:
    """Apply every rule to the main graph of a `ModelT`, in place.

    Returns:
        How often each rule was applied.
    """
    graph = Graph(model)
    builtin = graph.schema.BuiltinOperator
    rules: dict[int, tuple[str, Callable[[Graph, Any], Rewritten | None]]] = {
        builtin.SQUARED_DIFFERENCE: ("SQUARED_DIFFERENCE as a product of differences", _squared_difference),
        builtin.GELU: ("GELU by the logistic function", _gelu),
        builtin.MUL: ("square of ABS as a plain square", _square_of_abs),
        builtin.DIV: ("DIV by a bounded divisor as products with 1/sqrt", _division),
    }
    counts = dict.fromkeys((name for name, _ in rules.values()), 0)
    operators: list[Any] = []
    for op in graph.graph.operators:
        name, rule = rules.get(graph.kind(op), ("", None))
        replacement = rule(graph, op) if rule and graph.is_float(op) else None
        if replacement is None:
            operators.append(op)
        else:
            operators += replacement
            counts[name] += 1
    graph.graph.operators = operators
    graph.drop_unused()
    return counts


def _squared_difference(graph: Graph, op: Any) -> Rewritten:
    (a, b), (output,) = op.inputs, op.outputs
    subtract, difference = graph.binary("SUB", a, b, output, graph.name(output) + "/difference")
    return [subtract, graph.op("MUL", [difference, difference], output)]


def _gelu(graph: Graph, op: Any) -> Rewritten:
    (x,), (output,) = op.inputs, op.outputs
    name = graph.name(output)
    made: Rewritten = []

    def binary(kind: str, left: int, right: float, what: str) -> int:
        number = graph.constant(right, f"{name}/{what}-number") if isinstance(right, float) else right
        operator, result = graph.binary(kind, left, number, x, f"{name}/{what}")
        made.append(operator)
        return result

    k0, k1, k2 = COEFFICIENTS
    u = binary("MUL", x, 1 / BOUND, "bounded")
    made[-1].builtinOptions.fusedActivationFunction = graph.schema.ActivationFunctionType.RELU_N1_TO_1
    square = binary("MUL", u, u, "square")
    slope = binary("ADD", binary("MUL", square, k2, "bend"), k1, "slope")
    factor = binary("ADD", binary("MUL", slope, square, "curve"), k0, "factor")
    v = binary("MUL", factor, u, "argument")
    s = graph.value(f"{name}/logistic", x)
    return [*made, graph.op("LOGISTIC", [v], s), graph.op("MUL", [s, x], output)]


def _square_of_abs(graph: Graph, op: Any) -> Rewritten | None:
    left, right = op.inputs
    absolute = graph.made_by(left, graph.schema.BuiltinOperator.ABS)
    if left != right or absolute is None:
        return None
    op.inputs = [absolute.inputs[0], absolute.inputs[0]]
    return [op]


def _division(graph: Graph, op: Any) -> Rewritten | None:
    builtin = graph.schema.BuiltinOperator
    x, divisor = op.inputs
    output = op.outputs[0]
    name = graph.name(output)
    broadcast = graph.made_by(divisor, builtin.BROADCAST_TO)
    bounded = graph.made_by(broadcast.inputs[0] if broadcast else divisor, builtin.MAXIMUM)
    if bounded is None:
        return None
    value, bound = bounded.inputs
    least = graph.scalar(bound)
    if least is None or least <= 0:
        return None
    inverse = graph.value(name + "/rsqrt", bounded.outputs[0])
    reshape = graph.made_by(value, builtin.RESHAPE)
    root = graph.made_by(reshape.inputs[0] if reshape else value, builtin.SQRT)
    if root is not None:
        square = root.inputs[0]
        before = []
        if reshape:
            square = graph.value(name + "/square", value)
            before = [graph.like(reshape, [root.inputs[0], *reshape.inputs[1:]], square)]
        limit = graph.constant(least * least, name + "/bound")
        maximum, limited = graph.binary("MAXIMUM", square, limit, square, name + "/bounded")
        last = [graph.op("RSQRT", [limited], inverse), graph.op("MUL", [x, inverse], output)]
        return [*before, maximum, *last]
    reciprocal = graph.value(name + "/reciprocal", bounded.outputs[0])
    return [
        graph.op("RSQRT", [bounded.outputs[0]], inverse),
        graph.op("MUL", [inverse, inverse], reciprocal),
        graph.op("MUL", [x, reciprocal], output),
    ]
