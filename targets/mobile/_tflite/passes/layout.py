"""Transposes pushed down the graph until they meet and cancel.

Every convolution was translated as transpose(conv(transpose(x, NHWC)), NCHW). A transpose is moved behind the
operator that reads it, f(transpose(x, p)) = transpose(f'(x), p) by the rules of `orders`, and where it meets the next
one,

    transpose(transpose(x, p), q) = transpose(x, p[q]),

which is often x. What is left at the entrance is taken from the caller: an image that is only read channels-last is
given channels-last.
"""

from __future__ import annotations

from edgepack.targets.mobile._tflite.graph import Graph, Operator, Tensor
from edgepack.targets.mobile._tflite.passes.orders import Order, inverse, permuted, rules, through_reshape

TO_LAST: Order = (0, 2, 3, 1)
TO_FIRST: Order = (0, 3, 1, 2)
_BEFORE_CONVOLUTIONS = frozenset({"ADD", "SUB", "MUL", "DIV", "PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE",
                                  "CAST", "QUANTIZE", "DEQUANTIZE", "MAXIMUM", "MINIMUM", "RELU",
                                  "RELU6"})  # fmt: skip


def order_of(operator: Operator | None) -> Order | None:
    """The order of a transpose, None for any other operator."""
    if operator is None or operator.code != "TRANSPOSE" or operator.inputs[1] is None:
        return None
    found = operator.inputs[1].small
    return None if found is None else tuple(int(n) for n in found)


def sink(graph: Graph) -> int:
    """Move transposes down, once through the graph; returns how many were moved or cancelled."""
    return _Sweep(graph).run()


class _Sweep:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made: dict[Tensor, Operator] = {}
        self.out: list[Operator] = []
        self.same: dict[Tensor, Tensor] = {}
        self.count = 0

    def run(self) -> int:
        for operator in self.graph.operators:
            operator.inputs = [self.same.get(t, t) if t is not None else None for t in operator.inputs]
            if not (self._compose(operator) or self._reshape(operator) or self._push(operator)):
                self._keep(operator)
        self.graph.operators = self.out
        self.graph.outputs = {name: self.same.get(t, t) for name, t in self.graph.outputs.items()}
        return self.count

    def _keep(self, operator: Operator) -> None:
        self.out.append(operator)
        for tensor in operator.outputs:
            self.made[tensor] = operator

    def _order(self, tensor: Tensor | None) -> Order | None:
        return order_of(self.made.get(tensor)) if tensor is not None else None

    def _source(self, tensor: Tensor) -> Tensor:
        source = self.made[tensor].inputs[0]
        if source is None:
            msg = "a transpose of nothing"
            raise ValueError(msg)
        return source

    def _compose(self, operator: Operator) -> bool:
        own, data = order_of(operator), operator.inputs[0] if operator.inputs else None
        before = self._order(data)
        if own is None or data is None or before is None:
            return False
        self.count += 1
        source, order = self._source(data), permuted(before, own)
        result = operator.outputs[0]
        external = result in self.graph.outputs.values() and (
            source in self.graph.inputs.values() or source in self.graph.outputs.values()
        )
        if order == tuple(range(len(order))) and not external:
            self.same[result] = source
        else:
            self._keep(self._transpose(source, order, result))
        return True

    def _reshape(self, operator: Operator) -> bool:
        data = operator.inputs[0] if operator.inputs else None
        order = self._order(data)
        if operator.code != "RESHAPE" or data is None or order is None:
            return False
        result = operator.outputs[0]
        if any(n < 1 for n in (*data.shape, *result.shape)):
            return False
        first, shape, turned = through_reshape(data.shape, result.shape, order)
        source = self._source(data)
        if first != tuple(range(len(first))):
            # One transpose becomes two, which pays where the second is a convolution's: it will be cancelled.
            if turned != TO_FIRST:
                return False
            between = self.graph.tensor(
                f"{data.name}/turned", data.dtype, permuted(source.shape, first), data.quantization
            )
            self._keep(self._transpose(source, first, between))
            source = between
        made = self.graph.tensor(f"{result.name}/last", result.dtype, shape, result.quantization)
        target = self.graph.integers(shape, f"{result.name}/shape")
        self._keep(Operator("RESHAPE", [source, target], [made], {"newShape": target.small}))
        self._after(made, turned, result)
        self.count += 1
        return True

    def _push(self, operator: Operator) -> bool:
        rule = rules.get(operator.code)
        orders = {
            t: order for t in operator.inputs if t is not None and (order := self._order(t)) is not None
        }
        if rule is None or not orders or len(set(orders.values())) != 1:
            return False
        order = next(iter(orders.values()))
        if any(len(result.shape) != len(order) for result in operator.outputs):
            return False
        made = rule(self.graph, operator, order, {t: self._source(t) for t in orders})
        if made is None:
            return False
        back = inverse(order)
        made.outputs = [
            self.graph.tensor(f"{r.name}/last", r.dtype, permuted(r.shape, back), r.quantization)
            for r in operator.outputs
        ]
        self._keep(made)
        for new, result in zip(made.outputs, operator.outputs, strict=True):
            self._after(new, order, result)
        self.count += 1
        return True

    def _after(self, made: Tensor, order: Order, result: Tensor) -> None:
        if order == tuple(range(len(order))) and result not in self.graph.outputs.values():
            self.same[result] = made
        else:
            self._keep(self._transpose(made, order, result))

    def _transpose(self, source: Tensor, order: Order, result: Tensor) -> Operator:
        return Operator("TRANSPOSE", [source, self.graph.integers(order, f"{result.name}/order")], [result])


def hoist(graph: Graph) -> int:
    """Move transposes in front of what is done to an input before its first convolution; returns how many."""
    count = 0
    for index in range(len(graph.operators) - 1, -1, -1):
        operator = graph.operators[index]
        readers = [user for user in graph.operators if operator.outputs[0] in user.inputs]
        orders = {order_of(reader) for reader in readers}
        data = operator.inputs[0] if operator.inputs else None
        if (
            operator.code not in _BEFORE_CONVOLUTIONS
            or len(orders) != 1
            or data is None
            or data.values is not None
        ):
            continue
        order = next(iter(orders))
        if order != TO_LAST or order is None or operator.outputs[0] in graph.outputs.values():
            continue
        if not _from_input(graph, data):
            continue
        source = graph.tensor(f"{data.name}/last", data.dtype, permuted(data.shape, order), data.quantization)
        made = rules[operator.code](graph, operator, inverse(order), {data: source})
        if made is None:
            continue
        result = operator.outputs[0]
        made.outputs = [
            graph.tensor(
                f"{result.name}/last", result.dtype, permuted(result.shape, order), result.quantization
            )
        ]
        turn = Operator("TRANSPOSE", [data, graph.integers(order, f"{source.name}/order")], [source])
        graph.operators[index : index + 1] = [turn, made]
        for reader in readers:
            graph.replace(reader.outputs[0], made.outputs[0])
            graph.operators.remove(reader)
        count += 1
    return count


def _from_input(graph: Graph, tensor: Tensor) -> bool:
    """Whether a tensor is an image from the caller, or made of one by a chain that a transpose moves through."""
    producers, consumers = graph.producers(), graph.consumers()
    while len(consumers.get(tensor, [])) == 1 and tensor not in graph.outputs.values():
        operator = producers.get(tensor)
        if operator is None:
            return tensor in graph.inputs.values() and len(tensor.shape) == len(TO_LAST)
        if operator.code not in _BEFORE_CONVOLUTIONS:
            return False
        computed = [t for t in operator.inputs if t is not None and t.values is None]
        if len(computed) != 1 or len(computed[0].shape) != len(tensor.shape):
            return False
        tensor = computed[0]
    return False


def take_channels_last(graph: Graph) -> int:
    """Take inputs that are only read channels-last that way from the caller; returns how many."""
    count = 0
    for name, tensor in graph.inputs.items():
        readers = [operator for operator in graph.operators if tensor in operator.inputs]
        if not readers or any(order_of(reader) != TO_LAST for reader in readers):
            continue
        if any(reader.outputs[0] in graph.outputs.values() for reader in readers):
            continue
        for reader in readers:
            graph.replace(reader.outputs[0], tensor)
            graph.operators.remove(reader)
        tensor.shape = permuted(tensor.shape, TO_LAST)
        tensor.example = permuted(tensor.example, TO_LAST) if tensor.example else None
        graph.channels_last.append(name)
        count += 1
    return count
