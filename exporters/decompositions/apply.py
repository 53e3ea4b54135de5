"""Rewrites in an exported program the operators that torch's ONNX exporter lacks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import WRAPPERS, conditions, decompositions

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def decompose(exported: ExportedProgram) -> tuple[ExportedProgram, dict[str, int]]:
    """Replace the operators of the registry wherever the program holds them, subgraphs included.

    Args:
        exported: Left as it is.

    Returns:
        The program, the very same one when it holds none of these operators, and per operator ("aten.median.dim")
        how many nodes were rewritten. What a decomposition declined is still in the graph and not counted.
    """
    import torch

    names = {*decompositions.names(), *WRAPPERS}
    before = _counts(exported, names)
    if not before:
        return exported, {}
    own = torch.export.default_decompositions()
    # What is needed under a condition stays out of the table when no node meets it.
    used = {name for name in names if name in before or name not in conditions}
    table = {
        operator: decompositions.get(name) if name not in WRAPPERS else own[operator]
        for name in used
        if (operator := _operator(name)) in own or name not in WRAPPERS
    }
    with torch.no_grad():
        rewritten = exported.run_decompositions(table)
    after = _counts(rewritten, names)
    return rewritten, {name: n - after[name] for name, n in sorted(before.items()) if n > after[name]}


def revealed(exported: ExportedProgram) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Open operators by torch's own decompositions, and rewrite those of the registry that come to light.

    A nuclear norm is a singular value decomposition only then, and a negative power of a matrix an inverse. The
    graph is written out further than the exporter needs, so this is for programs that it has refused.

    Returns:
        The program, and the operators that were rewritten in it.
    """
    import torch

    found: set[str] = set()

    def noted(name: str) -> Any:
        member = decompositions.get(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            made = member(*args, **kwargs)
            if made is not NotImplemented:
                found.add(name)
            return made

        return call

    table: Any = torch.export.default_decompositions()
    table.update({_operator(name): noted(name) for name in decompositions.names()})
    # It becomes a squeeze of named axes, which the exporter cannot read where they are longer than 1.
    table.pop(torch.ops.aten.squeeze.default, None)
    with torch.no_grad():
        opened = exported.run_decompositions(table)
    return opened, tuple(sorted(found))


def _counts(exported: ExportedProgram, names: set[str]) -> Counter[str]:
    import torch

    return Counter(
        str(node.target)
        for module in exported.graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
        if node.op == "call_function"
        and (name := str(node.target)) in names
        and (name not in conditions or conditions.get(name)(node))
    )


def _operator(name: str) -> Any:
    import torch

    namespace, packet, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet), overload)
