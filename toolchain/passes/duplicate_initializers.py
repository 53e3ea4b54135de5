"""`duplicate-initializers`: of initializers with equal type, shape and content one is kept per graph.

Content is compared in three steps, each for what the one before could not tell apart: by place (the
same bytes of the same file need no reading), by the first and last bytes, by SHA-256 in chunks.
Initializers that a caller may override, and those that are outputs, are left alone; so are strings
and weights that are computed only when they are written.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, cast

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.weights import raw_chunks, same_place, sample, sample_is_whole

if TYPE_CHECKING:
    import onnx_ir as ir


@passes.register("duplicate-initializers")
def duplicate_initializers(model: ir.Model) -> int:
    """Merge equal initializers; returns how many were dropped."""
    return sum(_merge(graph) for graph in list(model.graphs()))


def _merge(graph: ir.Graph) -> int:
    groups: dict[Hashable, list[ir.Value]] = defaultdict(list)
    for value in graph.initializers.values():
        if _may_merge(value):
            tensor = _tensor(value)
            groups[tensor.dtype, tuple(tensor.shape.numpy())].append(value)
    return sum(
        _replace(graph, equal)
        for group in groups.values()
        if len(group) > 1
        for equal in _equal_groups(group)
        if len(equal) > 1
    )


def _may_merge(value: ir.Value) -> bool:
    import onnx_ir as ir

    tensor = value.const_value
    return (
        tensor is not None
        and not isinstance(tensor, ir.LazyTensor)
        and tensor.dtype is not ir.DataType.STRING
        and not value.is_graph_input()
        and not value.is_graph_output()
    )


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    return cast("ir.TensorProtocol", value.const_value)  # _may_merge let no other through


def _equal_groups(group: list[ir.Value]) -> Iterable[list[ir.Value]]:
    by_place: dict[Hashable, list[ir.Value]] = defaultdict(list)
    for value in group:
        by_place[same_place(_tensor(value))].append(value)
    by_sample: dict[bytes, list[list[ir.Value]]] = defaultdict(list)
    for same in by_place.values():
        by_sample[sample(_tensor(same[0]))].append(same)
    for alike in by_sample.values():
        if len(alike) == 1:
            yield alike[0]
        elif sample_is_whole(_tensor(alike[0][0])):
            yield [value for same in alike for value in same]
        else:
            by_content: dict[bytes, list[ir.Value]] = defaultdict(list)
            for same in alike:
                by_content[_digest(_tensor(same[0]))].extend(same)
            yield from by_content.values()


def _digest(tensor: ir.TensorProtocol) -> bytes:
    digest = hashlib.sha256()
    for chunk in raw_chunks(tensor):
        digest.update(chunk)
    return digest.digest()


def _replace(graph: ir.Graph, equal: list[ir.Value]) -> int:
    kept, *others = equal
    for value in others:
        value.replace_all_uses_with(kept)
        del graph.initializers[value.name or ""]
    return len(others)
