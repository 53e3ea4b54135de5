"""Why a model could not be traced or translated, in words: the operator, the module in which it stands, the cure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import EdgepackError, ExportError

if TYPE_CHECKING:
    import torch

_SIZES = re.compile(r"\[[s\d, ]*\]")
_OPERATOR = re.compile(r"OpOverload\(op='([\w.]+)', overload='(\w+)'\)")
_LINES, _LENGTH = 3, 400


def reason(error: BaseException, module: torch.nn.Module | None = None) -> str:
    """The first telling lines of an error, innermost cause first, and the submodule whose forward it left."""
    place = None if module is None else _submodule(error, module)
    while error.__cause__ is not None and not isinstance(error, EdgepackError):
        error = error.__cause__
        place = place or (None if module is None else _submodule(error, module))
    if isinstance(error, EdgepackError):
        return str(error) if error.todo or error.where else error.what
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {' '.join(lines[:_LINES])}"[:_LENGTH]
    return f"{said} (in module {place})" if place else said


def grouped(left: list[str]) -> str:
    """Reasons "rung: reason" in one paragraph, equal ones together: "dynamo, static: reason / split: reason".

    Two that differ only in the sizes of shapes ("float32[s31, 4]" and "float32[3, 4]") are equal; the first is told.
    """
    rungs: dict[str, tuple[str, list[str]]] = {}
    for one in left:
        rung, _, why = one.partition(": ")
        rungs.setdefault(_SIZES.sub("[]", why), (why, []))[1].append(rung)
    return " / ".join(f"{', '.join(names)}: {why}" for why, names in rungs.values())


def untranslated(exported: torch.export.ExportedProgram, error: BaseException) -> ExportError | None:
    """The refusal of an operator that torch's ONNX exporter does not know; None for other errors."""
    import torch

    while error.__cause__ is not None:
        error = error.__cause__
    match = _OPERATOR.search(str(error))
    if match is None:
        return None
    name = f"{match[1]}.{match[2]}"
    nodes = [
        node
        for graph in exported.graph_module.modules()
        if isinstance(graph, torch.fx.GraphModule)
        for node in graph.graph.nodes
        if node.op == "call_function"
    ]
    packet = match[1].rpartition(".")[2].lstrip("_").removeprefix("linalg_")
    exact = [node for node in nodes if str(node.target) == name]
    # What it was made from has its name in it as a rule: linalg_svdvals, _linalg_svd.
    near = [node for node in nodes if packet in str(node.target)]
    at = next(iter(exact or near), None)
    shapes = [] if at is None else [_shape(one.meta.get("val")) for one in at.all_input_nodes]
    taken = f" on {', '.join(filter(None, shapes))}" if any(shapes) else ""
    place = "forward" if at is None else where_of(at.meta)
    return ExportError(
        f"The operator {name}{taken}, in {place}, has no translation to ONNX, and none of edgepack's decompositions "
        "covers this case",
        todo="Write that step with simpler operators, give its matrices small fixed sizes (docs/models.md says which "
        "are decomposed), or leave it on the host: export what is before it and what is after it as parts",
    )


def where_of(meta: Mapping[str, Any]) -> str:
    """The module in which a node stands, in words: "module layers.0.mixer (S4D)"."""
    stack = list((meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "forward"
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    name = kind.rpartition(".")[2]
    return f"module {path} ({name})" if path else f"the model's own forward ({name})"


def _shape(value: object) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return ""
    return f"{str(value.dtype).removeprefix('torch.')}{list(map(str, value.shape))}".replace("'", "")


def _submodule(error: BaseException, module: torch.nn.Module) -> str | None:
    """Path and class of the innermost submodule in whose forward the error was raised."""
    paths = {id(one): path for path, one in module.named_modules() if path}
    found = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if id(owner) in paths and trace.tb_frame.f_code.co_name == "forward":
            found = f"{paths[id(owner)]} ({type(owner).__name__})"
        trace = trace.tb_next
    return found
