"""One ONNX node as its translation sees it: tensors, constants, attributes, and a way to append operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edgepack.targets.mobile._tflite import options, run_time
from edgepack.targets.mobile._tflite.base import NotServed
from edgepack.targets.mobile._tflite.graph import Graph, Tensor, Values, held
from edgepack.targets.mobile._tflite.quantization import Quantization
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.targets.mobile._tflite.lowering import Lowering

INSTEAD = "Use --target cpu:onnxruntime, or change the model"
SIZES = "Give sizes for the named dimensions (--size NAME=N)"


class Node:
    """A node, in the form in which it is to be computed.

    Attributes:
        onnx: The node itself.
        graph: Where operators go.
        integer: "int8" or "int16" when it is to be computed with integers, else None.
        results: For each output its quantization, where it is to be computed with integers.
        activation: "RELU", "RELU6", "RELU_N1_TO_1" when one follows and belongs to this node.
    """

    def __init__(
        self,
        onnx: ir.Node,
        lowering: Lowering,
        integer: str | None,
        results: Sequence[Quantization | None],
        activation: str | None,
    ) -> None:
        self.onnx = onnx
        self.graph: Graph = lowering.graph
        self.integer = integer
        self.results = results
        self.activation = activation
        self._lowering = lowering

    @property
    def op(self) -> str:
        """The ONNX operator's name."""
        return self.onnx.op_type

    @property
    def label(self) -> str:
        """What the node's tensors are named after: its first output."""
        return next((value.name for value in self.onnx.outputs if value.name), self.op) or self.op

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self._lowering.opset

    def refuse(self, reason: str, cure: str = INSTEAD) -> NoReturn:
        """Say that this node cannot be translated.

        Raises:
            NotServed: Always.
        """
        name = self.onnx.name or self.label
        raise NotServed(
            f"The ONNX operator {self.op} cannot become TFLite: {reason}", where=f"node '{name}'", todo=cure
        )

    # Inputs

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.onnx.inputs) and self.onnx.inputs[index] is not None

    @property
    def count(self) -> int:
        """How many inputs are listed."""
        return len(self.onnx.inputs)

    def x(self, index: int = 0) -> Tensor:
        """An input; of integers when the node is computed with integers and the input is real, else plain."""
        value = self._value(index)
        return self._lowering.tensor(value) if self.integer else self._lowering.plain(value)

    def tensor(self, index: int) -> Tensor:
        """An input in its own type, such as a vector of sizes."""
        return self.held(self._value(index))

    def held(self, value: ir.Value) -> Tensor:
        """What holds a value of the graph, in its own type."""
        return self._lowering.plain(value)

    def values(self, index: int) -> Values | None:
        """A constant input's values, as integers where it is quantized and the node computes so; else None."""
        return self.x(index).values if self._lowering.is_constant(self._value(index)) else None

    def small(self, index: int) -> np.ndarray | None:
        """The values of a small constant input; None when it is missing, computed or large."""
        if not self.has(index) or not self._lowering.is_constant(self._value(index)):
            return None
        return self._lowering.plain(self._value(index)).small

    def known(self, index: int, what: str) -> np.ndarray:
        """As `small`, refused when it is not a constant.

        Raises:
            NotServed: The input is computed.
        """
        found = self.small(index)
        if found is None:
            self.refuse(f"its {what} are computed while the model runs", "Export the model with fixed sizes")
        return found

    def operand(self, op: str, index: int = 0) -> Tensor | None:
        """What an input is a function of, where one standard operator of that name computes it; else None."""
        producer = self._value(index).producer()
        if producer is None or not standard(producer, op) or producer.inputs[0] is None:
            return None
        return self._lowering.plain(producer.inputs[0])

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """An input's dimensions."""
        return self._lowering.tensor(self._value(index)).shape

    def _value(self, index: int) -> ir.Value:
        value = self.onnx.inputs[index] if index < len(self.onnx.inputs) else None
        if value is None:
            self.refuse(f"its input {index} is missing")
        return value

    # Attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, str, or a list; `default` when it is not given."""
        found = self.onnx.attributes.get(name)
        if found is None:
            return default
        value = found.value
        return list(value) if isinstance(value, (tuple, list)) else value

    # Outputs

    def out_shape(self, index: int = 0) -> tuple[int, ...]:
        """An output's dimensions."""
        return self._lowering.shape(self.onnx.outputs[index])

    def out_dtype(self, index: int = 0) -> str:
        """An output's dtype when it is not computed with integers."""
        return self._lowering.dtype(self.onnx.outputs[index])

    def used(self, index: int) -> bool:
        """Whether anything reads an output."""
        if index >= len(self.onnx.outputs):
            return False
        value = self.onnx.outputs[index]
        return bool(value.name) and (value.is_graph_output() or bool(value.uses()))

    def emit(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        *,
        dtype: str | None = None,
        quantization: Quantization | None = None,
        **given: Any,
    ) -> Tensor:
        """Append an operator whose result stays within this node; dtype and scale of its first input by default."""
        first = next(tensor for tensor in inputs if tensor is not None)
        if dtype is None:
            dtype = first.dtype
            quantization = quantization or first.quantization
        made = self.graph.tensor(f"{self.label}/{code.lower()}", dtype, shape, quantization)
        self.graph.add(code, inputs, [made], given)
        return made

    def finish(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        index: int = 0,
        *,
        shape: Sequence[int] = (),
        **given: Any,
    ) -> Tensor:
        """Append the operator that computes an output, with the activation that belongs to it.

        Args:
            code: The operator.
            inputs: Its inputs.
            index: Which output.
            shape: The result's dimensions where they are not the output's: a reshape then follows.
            **given: Options.
        """
        if index == 0 and code in options.ACTIVATED:
            given |= self.fused()
        made = self.result(index, shape or None)
        self.graph.add(code, inputs, [made], given)
        if shape and tuple(shape) != self.out_shape(index):
            made = self.reshaped(made, self.out_shape(index))
        self.bind(made, index)
        return made

    def fused(self) -> dict[str, Any]:
        """The activation that belongs to this node as an option of its operator, which then applies it."""
        if self.activation is None:
            return {}
        name, self.activation = self.activation, None
        return {"fusedActivationFunction": name}

    def result(self, index: int = 0, shape: Sequence[int] | None = None) -> Tensor:
        """A tensor of an output's dtype, scale and dimensions, for an operator that is appended by hand."""
        quantization = self.results[index] if self.integer else None
        dtype = self.integer if self.integer and quantization is not None else self.out_dtype(index)
        dims = self.out_shape(index) if shape is None else shape
        return self.graph.tensor(self.onnx.outputs[index].name or self.op, dtype, dims, quantization)

    def bind(self, tensor: Tensor, index: int = 0) -> None:
        """Say which tensor holds an output; an activation that no operator has applied is appended."""
        if index == 0 and self.activation is not None:
            tensor = self.emit(self.fused()["fusedActivationFunction"], [tensor], tensor.shape)
        wanted = self.results[index] if self.integer else None
        if wanted is not None and not wanted.same(tensor.quantization):
            tensor = self.rescaled(tensor, wanted)
        self._lowering.bind(self.onnx.outputs[index], tensor)

    # Helpers

    def integers(self, values: Any, what: str = "sizes") -> Tensor:
        """A constant of int32."""
        return self.graph.integers(values, f"{self.label}/{what}")

    def number(self, value: float, what: str = "number") -> Tensor:
        """A float32 constant without dimensions."""
        return self.constant(np.array(value, np.float32), what)

    def constant(
        self, array: np.ndarray | Values, what: str = "constant", quantization: Quantization | None = None
    ) -> Tensor:
        """A constant."""
        values = array if isinstance(array, Values) else held(array)
        return self.graph.constant(values, f"{self.label}/{what}", quantization)

    def reshaped(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same numbers under other dimensions, of which those open to callers (-1) are the tensor's, in order.

        Raises:
            NotServed: More than one dimension is open, and they are not the tensor's.
        """
        target = tuple(int(n) for n in shape)
        if tensor.shape == target:
            return tensor
        if tensor.values is not None:
            new = tensor.values.derived(lambda a: a.reshape(target), target, ("reshape", target))
            return self.constant(new, "reshaped", tensor.quantization)
        if target.count(-1) > 1:
            sizes = run_time.like(self.graph, tensor, target, f"{self.label}/shape")
            if sizes is None:
                self.refuse("several of the result's dimensions are open, and not those of its input", SIZES)
            return self.emit("RESHAPE", [tensor, sizes], target)
        return self.emit(
            "RESHAPE", [tensor, self.integers(target, "shape")], target, newShape=np.array(target)
        )

    def transposed(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        """The tensor with its dimensions in another order."""
        order = [int(n) for n in order]
        if order == list(range(len(order))):
            return tensor
        shape = tuple(tensor.shape[axis] for axis in order)
        if tensor.values is not None:
            new = tensor.values.derived(
                lambda a: np.ascontiguousarray(a.transpose(order)), shape, ("transpose", *order)
            )
            quantization = tensor.quantization
            if quantization is not None and not quantization.per_tensor:
                quantization = Quantization(
                    quantization.scales, quantization.zero_points, order.index(quantization.axis)
                )
            return self.constant(new, "transposed", quantization)
        return self.emit("TRANSPOSE", [tensor, self.integers(order, "order")], shape)

    def rescaled(self, tensor: Tensor, quantization: Quantization) -> Tensor:
        """The same real numbers in integers of another scale."""
        if quantization.same(tensor.quantization):
            return tensor
        made = self.graph.tensor(f"{self.label}/rescaled", tensor.dtype, tensor.shape, quantization)
        self.graph.add("QUANTIZE", [tensor], [made])
        return made

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front.

        Raises:
            NotServed: There is no such axis.
        """
        if not -rank <= value < rank:
            self.refuse(f"its axis {value} is not one of {rank}", "Check the model with onnx.checker")
        return value % rank

    def size(self, shape: Sequence[int]) -> int:
        """How many elements dimensions give; -1 when one is open."""
        return -1 if any(n < 0 for n in shape) else math.prod(shape)
