"""`identities`: nodes that hand their input on unchanged are removed.

Removed are Identity, Dropout at inference, Cast to the type the input has, Transpose that keeps the
order, Concat, Sum, Max, Min and Mean of one input, Reshape to the shape the input has, and Expand
by ones. What is a graph's output keeps its name: the node is removed only if the value it hands on
is computed in the same graph and is not an output itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import constant, merge_value_facts, merged, scopes, standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.passes.graphs import GraphLike

_DROPOUT_INFERS_ONLY = 7
_DROPOUT_HAS_MODE = 12
"""Versions from which on Dropout has no attribute `is_test`, and has an input `training_mode`."""

_Rule = Callable[["ir.Node", int], bool]


@passes.register("identities")
def identities(model: ir.Model) -> int:
    """Remove nodes that change nothing; returns how many."""
    count = 0
    for graph, version in scopes(model):
        for node in list(graph):
            rule = _RULES.get(node.op_type) if standard(node) else None
            if rule is not None and rule(node, version) and _remove(graph, node):
                count += 1
    return count


def _remove(graph: GraphLike, node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or any(extra.uses() or extra.is_graph_output() for extra in node.outputs[1:]):
        return False
    is_output = any(output is result for output in graph.outputs)
    if result.is_graph_output() and not is_output:
        return False
    if is_output:
        producer = source.producer()
        if producer is None or producer.graph is not node.graph or source.is_graph_output():
            return False
    name = result.name
    merge_value_facts(source, result)
    if is_output:
        # The output's declared dimensions are part of the signature and win over inferred ones.
        source.shape = merged(result.shape, source.shape)
        for index, output in enumerate(graph.outputs):
            if output is result:
                graph.outputs[index] = source
    result.replace_all_uses_with(source)
    graph.remove(node, safe=True)
    if is_output:
        source.name = name
    return True


def _always(node: ir.Node, version: int) -> bool:
    del version
    return len(node.inputs) == 1


def _dropout(node: ir.Node, version: int) -> bool:
    if version < _DROPOUT_INFERS_ONLY:
        test = node.attributes.get("is_test")
        return test is not None and not test.is_ref() and test.as_int() == 1
    mode = node.inputs[2:3]
    if version < _DROPOUT_HAS_MODE or not mode or mode[0] is None:
        return True
    training = constant(mode[0])
    return training is not None and not training.any()


def _cast(node: ir.Node, version: int) -> bool:
    del version
    to, source = node.attributes.get("to"), node.inputs[0]
    return to is not None and not to.is_ref() and source is not None and source.dtype == to.value


def _transpose(node: ir.Node, version: int) -> bool:
    del version
    order = node.attributes.get("perm")
    return (
        order is not None
        and not order.is_ref()
        and list(order.as_ints()) == list(range(len(order.as_ints())))
    )


def _reshape(node: ir.Node, version: int) -> bool:
    del version
    source, target_shape = node.inputs[0], node.inputs[1:2]
    if not target_shape or source is None or source.shape is None:
        return False
    wanted, dims = constant(target_shape[0]), list(source.shape)
    keep = node.attributes.get("allowzero")
    if wanted is None or wanted.ndim != 1 or len(wanted) != len(dims):
        return False
    if keep is not None and (keep.is_ref() or keep.as_int() != 0):
        return False
    # 0 copies the input's dimension; a single -1 then can only be what is left, the input's own.
    free = sum(int(target) == -1 for target in wanted)
    return free <= 1 and all(
        int(target) in (0, -1) or int(target) == dim for target, dim in zip(wanted, dims, strict=True)
    )


def _expand(node: ir.Node, version: int) -> bool:
    del version
    source, target_shape = node.inputs[0], node.inputs[1:2]
    if not target_shape or source is None or source.shape is None:
        return False
    wanted = constant(target_shape[0])
    return wanted is not None and len(wanted) <= len(source.shape) and bool((wanted == 1).all())


_RULES: dict[str, _Rule] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Concat": _always,
    "Sum": _always,
    "Max": _always,
    "Min": _always,
    "Mean": _always,
    "Reshape": _reshape,
    "Expand": _expand,
}
