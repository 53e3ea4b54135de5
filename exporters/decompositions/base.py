"""What a decomposition is, and the registry of them.

A decomposition computes one ATen operator with others that torch's ONNX exporter translates. It takes the
operator's own arguments, by the operator's schema, and returns what the operator returns. It is traced, so
it must not look at values, and sizes may be symbolic. It returns `NotImplemented` for a case that it does
not cover, and the operator stays where it is.

Members are filed under the operator's name in an exported graph, such as "aten.kthvalue.default".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack.toolchain.registry import Registry

Decomposition = Callable[..., Any]

decompositions: Registry[Decomposition] = Registry("decomposition", "edgepack.exporters.decompositions")

conditions: Registry[Callable[[Any], bool]] = Registry("condition", "edgepack.exporters.decompositions")
"""Whether a node of the graph (torch.fx.Node) needs its operator's decomposition; without one, always."""

WRAPPERS = (
    "aten.adaptive_max_pool1d.default",
    "aten.linalg_eigh.default",
    "aten.linalg_eigvalsh.default",
    "aten.linalg_slogdet.default",
    "aten.linalg_solve_ex.default",
    "aten.linalg_svd.default",
    "aten.linalg_svdvals.default",
    "aten.logdet.default",
    "aten.slogdet.default",
    "aten.special_digamma.default",
    "aten.special_erfinv.default",
    "aten.special_gammaln.default",
)
"""Operators that torch itself composes of operators in the registry, and keeps whole in an exported graph."""

MAX_UNROLLED = 16
"""Largest order of a matrix whose elimination is written out row by row."""
