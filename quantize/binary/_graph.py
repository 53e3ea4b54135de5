"""What stands before and behind a layer, read from the traced model: BatchNorms, and ReLUs.

Only what the trace proves is used: a module that is called once, between two that nothing else reads. A model that
torch.fx cannot trace has no neighbours, and nothing of it is folded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node, Tracer

from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.quantize.binary._packed import PackedLayer

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
# They keep the sign: what is never negative before them is never negative behind them.
_TRANSPARENT = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity),
)
_TRANSPARENT_CALLS = (
    torch.flatten,
    nn.functional.dropout,
    nn.functional.max_pool2d,
    nn.functional.avg_pool2d,
)
_TRANSPARENT_METHODS = ("flatten", "view", "reshape", "contiguous")
_RECTIFIER_CALLS = (torch.relu, nn.functional.relu, nn.functional.relu6)


class _Layers(Tracer):
    """Leaves binary layers closed, as torch's own modules are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (BinaryLayer, PackedLayer)) or super().is_leaf_module(m, module_qualified_name)


class Neighbours:
    """The traced model.

    Args:
        model: Not changed.

    Attributes:
        untraced: Why there is no trace, or None.
    """

    def __init__(self, model: nn.Module) -> None:
        self.untraced: str | None = None
        self._modules = dict(model.named_modules())
        self._calls: dict[str, list[Node]] = {}
        try:
            graph: Graph = _Layers().trace(model)
        except Exception as error:  # noqa: BLE001 - whatever a model's own code raises when it meets a proxy
            lines = str(error).strip().splitlines()
            self.untraced = f"torch.fx cannot trace the model ({lines[0] if lines else type(error).__name__})"
            return
        for node in graph.nodes:
            if node.op == "call_module":
                self._calls.setdefault(str(node.target), []).append(node)

    def order(self) -> list[str]:
        """Names of the modules in the order of their first calls; empty without a trace."""
        return list(self._calls)

    def norm_behind(self, name: str) -> str | None:
        """The BatchNorm that alone reads what the module gives, and reads nothing else."""
        node = self._once(name)
        if node is None or len(node.users) != 1:
            return None
        user = next(iter(node.users))
        if user.op != "call_module" or not isinstance(self._modules[str(user.target)], _NORMS):
            return None
        return str(user.target) if self._once(str(user.target)) is user else None

    def rectifier_before(self, name: str) -> tuple[str | None, bool]:
        """The ReLU behind which the module stands.

        Returns:
            The name of a module that nothing but this one reads, or None; and whether there is a ReLU at all.
        """
        node = self._once(name)
        alone = True
        while node is not None and node.args and isinstance(node.args[0], Node):
            node = node.args[0]
            alone = alone and len(node.users) == 1
            if self._is(node, _RECTIFIERS, _RECTIFIER_CALLS, ("relu", "relu_")):
                module = node.op == "call_module" and self._once(str(node.target)) is node
                return (str(node.target) if module and alone else None), True
            if not self._is(node, _TRANSPARENT, _TRANSPARENT_CALLS, _TRANSPARENT_METHODS):
                break
        return None, False

    def _once(self, name: str) -> Node | None:
        calls = self._calls.get(name, [])
        return calls[0] if len(calls) == 1 else None

    def _is(
        self,
        node: Node,
        modules: tuple[Any, ...],
        functions: tuple[Any, ...],
        tensor_methods: tuple[str, ...],
    ) -> bool:
        if node.op == "call_module":
            return isinstance(self._modules[str(node.target)], modules)
        if node.op == "call_function":
            return node.target in functions
        return node.op == "call_method" and node.target in tensor_methods
