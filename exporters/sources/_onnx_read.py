"""Reading an ONNX file: the protobuf, and everything wrong with it that readers would stumble over.

What is checked here is what makes a runtime recurse without end, allocate without limit or mix up two
values; whether operators get what they want is the runtime's to say, which knows them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.exporters.sources._onnx_sparse import densify
from edgepack.exporters.sources._onnx_tensors import check_tensors
from edgepack.toolchain.errors import SourceError

if TYPE_CHECKING:
    import onnx

_PROTOBUF_BYTES = (1 << 31) - 1
"""No protobuf message may be longer; the format's own limit."""


def read(path: Path) -> tuple[onnx.ModelProto, list[str]]:
    """The file's protobuf, checked, with external data left where it is; and what had to be changed.

    Raises:
        SourceError: No file, not an ONNX model, or one that is hostile or broken.
    """
    import onnx

    if not path.is_file():
        raise SourceError(f"There is no file {path}", where=str(path))
    if path.stat().st_size > _PROTOBUF_BYTES:
        raise SourceError(
            f"{path.name} has {path.stat().st_size / 2**30:.1f} GiB, and an ONNX file ends at 2 GiB",
            where=str(path),
            todo="Save it with its weights in external data: onnx.save(model, path, save_as_external_data=True), "
            "or torch.onnx.export(..., external_data=True)",
        )
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise SourceError(
            f"{path.name} is not a whole ONNX model: {type(error).__name__}: {str(error)[:200]}",
            where=str(path),
            todo="Copy or export it again",
        ) from error
    if not model.graph.output:
        raise SourceError(f"{path.name} holds no graph with outputs", where=str(path))
    _check_functions(model, str(path))
    notes = ["nodes sorted"] if _check_graph(model.graph, set(), str(path)) else []
    check_tensors(model, path)
    sparse = densify(model, str(path))
    if sparse:
        notes.append(f"{sparse} sparse constant{'s' * (sparse > 1)} made dense")
    return model, notes


def _check_functions(model: onnx.ModelProto, where: str) -> None:
    """Functions must not call themselves, directly or through others: runtimes inline them."""
    bodies: dict[tuple[str, str, str], set[tuple[str, str, str]]] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in bodies:
            raise SourceError(
                f"The function '{function.name}' is defined twice", where=where, todo="Export it again"
            )
        bodies[key] = set(_calls(function.node))
    done: set[tuple[str, str, str]] = set()
    for start in bodies:
        # Depth first without recursion: the functions on the way are those on the stack that are open.
        stack, way = [(start, False)], set()
        while stack:
            key, leaving = stack.pop()
            if leaving:
                way.discard(key)
                done.add(key)
            elif key in way:
                raise SourceError(
                    f"The function '{key[1]}' calls itself",
                    where=where,
                    todo="ONNX has no recursion: write it as a Loop",
                )
            elif key not in done:
                way.add(key)
                stack.append((key, True))
                stack.extend((called, False) for called in bodies[key] if called in bodies)


def _calls(nodes: Iterable[onnx.NodeProto]) -> Iterable[tuple[str, str, str]]:
    for node in nodes:
        yield (node.domain, node.op_type, node.overload)
        for attribute in node.attribute:
            yield from _calls(attribute.g.node)
            for graph in attribute.graphs:
                yield from _calls(graph.node)


def _check_graph(graph: onnx.GraphProto, outer: set[str], where: str) -> bool:
    """Every name is given once, and before it is used: no duplicates, no cycles, nothing undefined.

    Nodes that stand before what they use are moved, as runtimes do.

    Returns:
        Whether nodes were moved.
    """
    # A sparse constant has the name of its values; a legacy file lists weights as inputs, too.
    weights = [t.name for t in graph.initializer] + [t.values.name for t in graph.sparse_initializer]
    inputs = [value.name for value in graph.input]
    computed = [name for node in graph.node for name in node.output if name]
    for names in (inputs, weights, [*computed, *{*inputs, *weights}]):
        if len(set(names)) < len(names):
            raise _duplicate(next(name for name, count in Counter(names).items() if count > 1), where)
    given = outer | set(inputs) | set(weights)
    moved = _sort(graph, given, set(computed), where)
    known = set(given)
    for node in graph.node:
        for name in filter(None, node.input):
            if name not in known:
                raise SourceError(
                    f"{_label(node)} uses '{name}', which nothing computes",
                    where=where,
                    todo="Export the model again",
                )
        for body in _bodies(node):
            moved |= _check_graph(body, known, where)
        known.update(filter(None, node.output))
    for value in graph.output:
        if value.name not in known:
            raise SourceError(
                f"Nothing computes the output '{value.name}'", where=where, todo="Export the model again"
            )
    return moved


def _sort(graph: onnx.GraphProto, given: set[str], computed: set[str], where: str) -> bool:
    """Put every node behind those whose results it uses, in place; returns whether one had to move."""
    needs = [(_uses(node) & computed) - given for node in graph.node]
    known: set[str] = set()
    for node, need in zip(graph.node, needs, strict=True):
        if not need <= known:
            break
        known.update(node.output)
    else:
        return False
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    waiting = [{makers[name] for name in need} for need in needs]
    users: dict[int, list[int]] = {}
    for index, makers_of in enumerate(waiting):
        for maker in makers_of:
            users.setdefault(maker, []).append(index)
    ready = [index for index, makers_of in enumerate(waiting) if not makers_of]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users.get(index, ()):
            waiting[user].discard(index)
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(graph.node):
        stuck = next(index for index, makers_of in enumerate(waiting) if makers_of)
        name = min(name for name in needs[stuck] if makers[name] in waiting[stuck])
        raise SourceError(
            f"{_label(graph.node[stuck])} uses '{name}' and is in a cycle with what computes it",
            where=where,
            todo="Export the model again; loops are written as Loop or Scan",
        )
    copy = type(graph)()
    copy.node.extend(graph.node[index] for index in order)
    del graph.node[:]
    graph.node.extend(copy.node)
    return True


def _uses(node: onnx.NodeProto) -> set[str]:
    """Names that a node uses, those in its bodies included."""
    used = set(filter(None, node.input))
    waiting = list(_bodies(node))
    while waiting:
        body = waiting.pop()
        used.update(value.name for value in body.output)
        for inner in body.node:
            used.update(filter(None, inner.input))
            waiting.extend(_bodies(inner))
    return used


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    import onnx

    found = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            found.append(attribute.g)
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            found.extend(attribute.graphs)
    return found


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name}'" if node.name else f"A node {node.op_type}"


def _duplicate(name: str, where: str) -> SourceError:
    return SourceError(
        f"The name '{name}' is given to two values of one graph",
        where=where,
        todo="Export the model again, or rename one of them",
    )
