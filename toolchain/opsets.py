"""Operator sets: what changes between two versions of ONNX, and bringing a model from one to another.

Two ways, neither of which looks at a weight:

- `restamp` writes another version number over a graph in which no operator's definition differs between
  the two versions. A definition is an operator's inputs, outputs, attributes and their defaults; the
  types that it accepts may grow, for the runtime refuses those that it lacks. This is exact, works in
  both directions, in subgraphs and in functions.
- `convert` asks ONNX's own version converter, which rewrites the operators that did change. It gets a
  copy of the graph in which large weights are inputs, so that it neither holds nor copies them. It does
  not look into functions, and its result has to be compared with the original by running both.

Source of the definitions: the schemas of the installed `onnx` package (`onnx.defs`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError

if TYPE_CHECKING:
    import onnx

OLDEST = 13
"""Oldest version that quantizers work on: the first in which scales may be one number a channel."""

TARGET = 18
"""The version that older models are brought to, which is the one that exporters write."""

_STANDARD = "ai.onnx"
_SMALL_BYTES = 1024


def standard_version(model: onnx.ModelProto) -> int:
    """The model's version of the standard operators; 0 when it imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in {"", _STANDARD}), 0)


def changed_operators(model: onnx.ModelProto, domain: str, version: int) -> list[str]:
    """Operators of `domain` in the model that version `version` defines otherwise, or does not have.

    Args:
        model: Nodes of the graph, of subgraphs and of functions are looked at.
        domain: "" for the standard operators.
        version: The version to compare the model's own with.

    Returns:
        Their names, sorted; an operator that onnx does not know in the model's own version counts as
        changed, for nothing can be said of it.
    """
    own = {_short(entry.domain): entry.version for entry in model.opset_import}
    found = set()
    functions = {(function.domain, function.name) for function in model.functions}
    for node in nodes(model):
        if _short(node.domain) != domain or (node.domain, node.op_type) in functions:
            continue
        if not _same(node.op_type, domain, own.get(domain, 0), version):
            found.add(node.op_type)
    return sorted(found)


def restamp(model: onnx.ModelProto, domain: str, version: int) -> list[str]:
    """Write `version` over the model's version of `domain` if that changes nothing, in place.

    Returns:
        Empty when it was done, else the operators that stand in the way.
    """
    changed = changed_operators(model, domain, version)
    if not changed:
        for holder in (model, *model.functions):
            for entry in holder.opset_import:
                if _short(entry.domain) == domain:
                    entry.version = version
    return changed


def expand(model: onnx.ModelProto, operators: Collection[tuple[str, str]]) -> bool:
    """Write operators out by the definition that ONNX gives of them in terms of others, in place.

    Args:
        model: Weights inside the file are copied once while this is done.
        operators: Domain and name of each.

    Returns:
        Whether one of them was in the model and has such a definition.
    """
    from onnx import inliner

    before = _count(model, operators)
    try:
        inlined = inliner.inline_selected_functions(model, list(operators), inline_schema_functions=True)
    except Exception:  # noqa: BLE001 - of C++; a definition that cannot be had leaves the model as it is
        return False
    if _count(inlined, operators) >= before:
        return False
    model.CopyFrom(inlined)
    return True


def _count(model: onnx.ModelProto, operators: Collection[tuple[str, str]]) -> int:
    return sum((node.domain, node.op_type) in operators for node in nodes(model))


def convert(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """A copy of the model in version `version` of the standard operators, by ONNX's version converter.

    Args:
        model: Not changed. Weights above 1 KB are not copied while converting; the result holds them in
            the same form, in the file or as references to external data.
        version: Of the standard operators.

    Raises:
        SourceError: The model has functions, or an operator cannot be converted, which is named.
    """
    from onnx import version_converter

    if model.functions:
        raise SourceError("Models with functions of their own are not converted", where="functions")
    bare, weights = _without_weights(model)
    try:
        converted = version_converter.convert_version(bare, version)
    except Exception as error:
        raise SourceError(
            f"{_culprit(error, model, version)} cannot be converted from operator set "
            f"{standard_version(model)} to {version}",
            where=model.graph.name,
            todo="Export the model again with a newer exporter",
        ) from error
    # Inputs and outputs are the author's: in the order and with the dimensions that they were given.
    for side, original in (
        (converted.graph.input, model.graph.input),
        (converted.graph.output, model.graph.output),
    ):
        del side[:]
        side.extend(original)
    converted.graph.initializer.extend(weights.values())
    converted.metadata_props.extend(model.metadata_props)
    # The converter's own record of values is in the order of its making, and may be of old types.
    del converted.graph.value_info[:]
    result: onnx.ModelProto = converted
    return result


def _without_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, onnx.TensorProto]]:
    """A copy whose large weights are inputs, and those weights by name."""
    import onnx
    from onnx import helper

    large = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.ByteSize() > _SMALL_BYTES
    }
    bare = onnx.ModelProto()
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if model.HasField(name):
            setattr(bare, name, getattr(model, name))
    # From version 4 on weights need not be inputs.
    bare.ir_version = max(model.ir_version, 4)
    bare.opset_import.extend(model.opset_import)
    graph = bare.graph
    graph.name = model.graph.name or "main"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.input.extend(model.graph.input)
    graph.initializer.extend(t for t in model.graph.initializer if t.name not in large)
    names = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in large.values()
        if tensor.name not in names
    )
    return bare, large


def _culprit(error: Exception, model: onnx.ModelProto, version: int) -> str:
    """What a message of the version converter is about, for the beginning of a sentence."""
    named = re.search(r"Adapter From Version \$?\d+ for (\w+)", str(error))
    changed = [named[1]] if named else changed_operators(model, "", version)
    if not changed:
        return f"The model ({' '.join(str(error).split())[:200]})"
    return f"The operator {changed[0]}" if len(changed) == 1 else f"One of the operators {', '.join(changed)}"


def _same(op: str, domain: str, first: int, second: int) -> bool:
    from onnx import defs

    try:
        if max(first, second) > newest(domain):
            return False
        a, b = defs.get_schema(op, first, domain), defs.get_schema(op, second, domain)
    except defs.SchemaError:
        return False
    if a.since_version == b.since_version:
        return True
    return not a.deprecated and not b.deprecated and _definition(a) == _definition(b)


def _definition(schema: onnx.defs.OpSchema) -> tuple[object, ...]:
    attributes = {
        name: (attribute.type, attribute.required, attribute.default_value.SerializeToString())
        for name, attribute in schema.attributes.items()
    }
    sides = [
        [(value.name, value.option, value.is_homogeneous, value.min_arity, value.type_str) for value in side]
        for side in (schema.inputs, schema.outputs)
    ]
    return attributes, sides


@cache
def newest(domain: str) -> int:
    """The newest version of `domain` that the installed onnx defines operators of; 0 for an unknown one."""
    from onnx import defs

    return max(
        (s.since_version for s in defs.get_all_schemas_with_history() if s.domain == domain), default=0
    )


def _short(domain: str) -> str:
    return "" if domain == _STANDARD else domain


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the graph, its subgraphs and the functions."""
    import onnx

    waiting = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        for node in waiting.pop():
            yield node
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    waiting.append(attribute.g.node)
                elif attribute.type == onnx.AttributeProto.GRAPHS:
                    waiting.extend(graph.node for graph in attribute.graphs)
