"""Weights that a program transposes at every call, transposed once before it is compiled.

XNNPACK packs the weights of its products when it loads a subgraph, and lets go of the tensor that they were packed
from. Another operator of the same subgraph that reads the same tensor reads memory that is no longer there (ExecuTorch
1.5.1 crashes): x W^T W, as dictionaries and tied projections compute it. And a product with a matrix that is the result
of a transposition counts as one of two computed matrices, which the delegate leaves to the portable kernels. A
transposed copy that is a constant itself is packed like any other weight; the untransposed one is left out where
nothing else reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_TRANSPOSING = ("aten.t.default", "aten.transpose.int", "aten.permute.default", "aten.numpy_T.default")
_MATRIX = 2


def folded(exported: ExportedProgram) -> ExportedProgram:
    """The program with every transposed weight matrix a constant of its own; changed in place.

    Args:
        exported: As torch.export made it, in floating point.
    """
    from executorch.backends.transforms.utils import (
        create_constant_placeholder,
        delete_constant_placeholder,
        get_param_tensor,
        is_param_node,
    )
    from torch.export.graph_signature import InputKind

    graph = exported.graph_module.graph
    changed = set(exported.graph_signature.buffers_to_mutate.values())
    inputs = exported.graph_signature.inputs_to_buffers
    for node in list(graph.nodes):
        if node.op != "call_function" or str(node.target) not in _TRANSPOSING:
            continue
        source = node.args[0]
        if not is_param_node(exported, source) or inputs.get(source.name) in changed:
            continue
        weight = get_param_tensor(exported, source)
        if weight is None or weight.dim() != _MATRIX or not weight.is_floating_point():
            continue
        data = node.target(weight.detach(), *node.args[1:], **node.kwargs).contiguous()
        name = f"b_{source.name}_{node.name}"
        with graph.inserting_before(next(iter(graph.nodes))):
            made = create_constant_placeholder(exported, graph, name, InputKind.BUFFER, data, True)  # noqa: FBT003
        node.replace_all_uses_with(made)
        graph.erase_node(node)
        if not source.users:
            delete_constant_placeholder(exported, source)
    exported.graph_module.recompile()
    return exported
