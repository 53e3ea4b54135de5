"""Which module of a traced model went wrong first: torch's modules beside the scopes of the graph's nodes.

The exporter writes the path of the module that a node came from into the node's metadata
(`pkg.torch.onnx.name_scopes`). A module counts as right when any tensor that its nodes compute equals
what the module returned in torch, since which of its nodes comes last is the graph's choice, and as
wrong when none of equal shape does.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.locate import is_wrong

if TYPE_CHECKING:
    import numpy as np
    import torch

    Arrays = Mapping[str, np.ndarray]
    Tensors = Callable[[Path, Arrays, Sequence[str]], Arrays]

SCOPES = "pkg.torch.onnx.name_scopes"
# Tensors fetched at a time: a large model's activations do not fit into memory all at once.
_BATCH = 64


def observe(module: torch.nn.Module, arguments: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
    """What every submodule returned in one call, by its path, in the order in which they finished.

    Of a module that is called several times the last call counts; of several outputs the first tensor.
    """
    import torch

    seen: dict[str, np.ndarray] = {}

    def hook(path: str) -> Callable[..., None]:
        def keep(_: object, __: object, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) and output else output
            if isinstance(first, torch.Tensor):
                seen.pop(path, None)
                seen[path] = first.detach().cpu().numpy().copy()

        return keep

    handles = [m.register_forward_hook(hook(path)) for path, m in module.named_modules() if path]
    try:
        with torch.no_grad():
            module(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def first_wrong(path: Path, inputs: Arrays, observed: Arrays, tensors: Tensors) -> str | None:
    """The first module of `observed` that the graph computes otherwise, with the last tensor of its nodes.

    Args:
        path: The traced ONNX file.
        inputs: One call's inputs.
        observed: What `observe` gave for the same call.
        tensors: Runs a file and gives the named tensors.

    Returns:
        "tensor 'add_3' (module encoder.layer.0)", or None when every module that can be compared agrees.
    """
    by_module = _tensors_by_module(path, list(observed))
    waiting = [(module, names) for module, names in by_module.items() if names]
    while waiting:
        batch: list[tuple[str, list[str]]] = []
        while waiting and (not batch or sum(len(names) for _, names in batch) < _BATCH):
            batch.append(waiting.pop(0))
        wanted = list(dict.fromkeys(name for _, names in batch for name in names))
        values = tensors(path, inputs, wanted)
        for module, names in batch:
            alike = [n for n in names if n in values and values[n].shape == observed[module].shape]
            if alike and all(is_wrong(observed[module], values[name]) for name in alike):
                return f"tensor '{alike[-1]}' (module {module})"
    return None


def _tensors_by_module(path: Path, modules: Sequence[str]) -> dict[str, list[str]]:
    """Tensors of the main graph that each module's nodes compute, modules in the order given."""
    import onnx_ir as ir

    found: dict[str, list[str]] = {module: [] for module in modules}
    for node in ir.load(path).graph:
        try:
            scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
        except (ValueError, SyntaxError):
            continue
        for module in scopes:
            if module in found:
                found[module] += [value.name for value in node.outputs if value.name]
    return found
