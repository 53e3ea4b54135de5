"""Looking for a structure in exported graphs: what the `lost` functions of architectures are written with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def operators(model: ir.Model) -> Counter[str]:
    """How often each operator type stands in a graph, bodies of loops and branches included."""
    return Counter(node.op_type for node in model.graph.all_nodes())


def too_few(model: ir.Model, operator: str, least: int, what: str) -> list[str]:
    """One sentence if `operator` stands fewer than `least` times, for the structure that `what` names."""
    found = operators(model)[operator]
    return [] if found >= least else [f"{what}: {found} of {least} {operator}"]


def not_there(graphs: Mapping[str, ir.Model], *parts: str) -> list[str]:
    """One sentence for every part that was not exported."""
    return [f"the part '{part}' is missing" for part in parts if part not in graphs]


def unshaped(model: ir.Model, **wanted: tuple[int | str, ...]) -> list[str]:
    """One sentence for every input or output, by name, that is missing or has another shape.

    Sizes that vary are given by name, as the graph has them.
    """
    values = {str(value.name): value for value in (*model.graph.inputs, *model.graph.outputs)}
    wrong = []
    for name, shape in wanted.items():
        value = values.get(name)
        dims = () if value is None or value.shape is None else tuple(value.shape)
        got = tuple(dim if isinstance(dim, int) else str(dim) for dim in dims)
        if got != shape:
            wrong.append(f"'{name}' is {got or 'missing'} and not {shape}")
    return wrong
