"""What the folders share of the native operators, the ones of the domain `edgepack`.

    quantize   defines them in torch and says how torch.onnx writes each as one node    `torch_operators`
    exporters  write the nodes, and give the file their functions                      `add_functions`
    targets    ship file and functions as they are, or refuse                          `native_nodes`
    runtime    has the functions and the kernels                 `function_libraries`, `kernel_libraries`

A file carries each operator that it uses as a function of ordinary operators too, so that it runs without kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

DOMAIN = "edgepack"
VERSION = 1


@dataclass(frozen=True)
class TorchOperators:
    """Operators of torch's namespace `edgepack`.

    Attributes:
        define: Makes them known to torch, which a saved program needs before it is read.
        translations: Torch's operators to functions that record one node each, for torch.onnx.export.
    """

    define: Callable[[], object]
    translations: Callable[[], Mapping[Callable[..., Any], Callable[..., Any]]]


torch_operators: Registry[TorchOperators] = Registry("set of torch operators", "edgepack.quantize.binary")
function_libraries: Registry[Callable[[ir.Model], int]] = Registry(
    "library of functions", "edgepack.runtime.kernels.functions"
)
"""Each gives a model the functions of the native operators that it uses, and says how many."""
kernel_libraries: Registry[Callable[[Any, Path | bytes], str | None]] = Registry(
    "library of kernels", "edgepack.runtime.kernels.serving"
)
"""Each registers its kernels with an `onnxruntime.SessionOptions` where a file, or its content, uses the operators, and
says why they cannot be used, or None."""


def define_torch_operators() -> None:
    """Make the native operators known to torch."""
    for name in torch_operators.names():
        torch_operators.get(name).define()


def translations_for(exported: torch.export.ExportedProgram) -> dict[Callable[..., Any], Callable[..., Any]]:
    """How torch.onnx writes the native operators of a program; empty where it holds none."""
    import torch

    held = any(
        str(node.target).startswith(f"{DOMAIN}.")
        for module in exported.graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
        if node.op == "call_function"
    )
    if not held:
        return {}
    return {
        key: made
        for _, operators in torch_operators.items()
        for key, made in operators.translations().items()
    }


def add_functions(model: ir.Model) -> int:
    """Give the model the functions of the native operators that it uses, but for those that it has; how many."""
    if not native_nodes(model):
        return 0
    return sum(add(model) for _, add in function_libraries.items())


def serve_kernels(options: Any, model: Path | bytes) -> str | None:
    """Register native kernels with an `onnxruntime.SessionOptions` where a model, a file or its content, uses them.

    Returns:
        Why the model's own functions have to do instead; None where nothing is in the way.
    """
    missing = [why for _, serve in kernel_libraries.items() if (why := serve(options, model)) is not None]
    return "; ".join(missing) or None


def refuse_native(model: ir.Model, target: str, part: str) -> None:
    """Raise where a target that lacks the native operators is given some.

    Written out in ordinary operators they would be float products of the same +1 and -1, slower than a float network
    and larger than an int8 one, so that nobody is served by them.

    Raises:
        TargetError: They are named, with what to do.
    """
    found = native_nodes(model)
    if found:
        named = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        raise TargetError(
            f"{target} has no operators of one bit, and the model holds {named}",
            where=f"part {part}",
            todo="Use --target cpu:onnxruntime for it, or give this target the float network with an int8 precision",
        )


def native_nodes(model: ir.Model) -> dict[str, int]:
    """How many nodes of each native operator the graph and its subgraphs hold."""
    return dict(Counter(node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN))
