"""`constants`: what depends on constants only is computed, by onnxscript's constant folding.

It also folds Shape of static dimensions, inlines an If whose condition is known, and propagates the
symbolic values of dimensions. Around it stand rules of our own: no node is computed whose inputs or
result have more than `FOLD_ELEMENTS` elements or whose result's size is not known beforehand (a
ConstantOfShape or Expand of a few bytes may be gigabytes); an initializer that callers may override
is not a constant; and functions of another operator set than the model's are not touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import FOLD_ELEMENTS, passes
from edgepack.toolchain.passes.graphs import RANDOM_OPS, constant, is_open, scopes, standard, static_elements

if TYPE_CHECKING:
    import onnx_ir as ir

_TRACE = "pkg.onnxscript.optimizer.folded_from"


@passes.register("constants")
def constants(model: ir.Model) -> int:
    """Fold constants; returns how many nodes went."""
    from onnxscript import optimizer

    before = {node for graph, _ in scopes(model) for node in graph}
    with _overridable_hidden(model), _foreign_functions_hidden(model):
        result = optimizer.fold_constants(
            model,
            # Node by node, so that a chain folds in one go; useless where the pass before left nothing open.
            onnx_shape_inference=any(is_open(value) for node in before for value in node.outputs),
            input_size_limit=FOLD_ELEMENTS,
            output_size_limit=FOLD_ELEMENTS,
            should_fold=_small_enough,
        )
    _scalars_for_ranges(model)
    after = set()
    for graph, _ in scopes(model):
        for node in graph:
            after.add(node)
            for value in node.outputs:
                value.metadata_props.pop(_TRACE, None)
    for graph in model.graphs():
        for value in graph.initializers.values():
            value.metadata_props.pop(_TRACE, None)
    # An input that was redirected past an Identity changes the graph and removes nothing yet.
    return max(len(before - after), int(result.modified))


def _small_enough(node: ir.Node) -> bool | None:
    """False where the node must not be computed, None where onnxscript's rules decide."""
    import onnx_ir as ir

    if node.op_type in RANDOM_OPS:
        return False
    for value in node.inputs:
        tensor = value.const_value if value is not None else None
        # Folded strings come back as a tensor that cannot be written.
        if tensor is not None and (tensor.size > FOLD_ELEMENTS or tensor.dtype is ir.DataType.STRING):
            return False
    for value in node.outputs:
        elements = static_elements(value)
        if elements is None or elements > FOLD_ELEMENTS or value.dtype is ir.DataType.STRING:
            return False
        # Range wants scalars. Runtimes take [n] when it is computed, and refuse it as a constant.
        if (
            value.shape is not None
            and len(value.shape)
            and any(u.node.op_type == "Range" for u in value.uses())
        ):
            return False
    return None


def _scalars_for_ranges(model: ir.Model) -> None:
    """Range wants scalars; runtimes take a tensor of one element when it is computed, and not as a constant."""
    import onnx_ir as ir

    for graph in model.graphs():
        for node in graph:
            if not standard(node, "Range"):
                continue
            for index, value in enumerate(node.inputs):
                number = constant(value)
                if value is None or number is None or number.shape != (1,):
                    continue
                scalar = ir.Value(
                    name=f"{value.name}/scalar", const_value=ir.tensor(number.reshape(()), dtype=value.dtype)
                )
                scalar.shape, scalar.type = ir.Shape(()), value.type
                graph.initializers.setdefault(scalar.name or "", scalar)
                node.replace_input_with(index, graph.initializers[scalar.name or ""])


@contextlib.contextmanager
def _overridable_hidden(model: ir.Model) -> Iterator[None]:
    hidden = [(value, value.const_value) for value in model.graph.inputs if value.is_initializer()]
    try:
        for value, _ in hidden:
            value.const_value = None
        yield
    finally:
        for value, tensor in hidden:
            value.const_value = tensor


@contextlib.contextmanager
def _foreign_functions_hidden(model: ir.Model) -> Iterator[None]:
    own = model.opset_imports
    hidden = {
        key: function
        for key, function in model.functions.items()
        if any(own.get(domain) != version for domain, version in function.opset_imports.items())
    }
    order = list(model.functions.items())
    for key in hidden:
        del model.functions[key]
    try:
        yield
    finally:
        if hidden:
            model.functions.clear()
            model.functions.update(order)
