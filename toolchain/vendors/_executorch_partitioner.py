"""XNNPACK's partitioner, without what would crash at run time.

XNNPACK packs the weights of products and convolutions when it loads a subgraph, and lets go of the tensors that they
were packed from; weights are kept by the hash of their bytes. So another operator of the subgraph that reads the same
bytes (x W^T + W) reads memory that is no longer there, and ExecuTorch 1.5.1 ends with a segmentation fault. Such an
operator is left to the portable kernels, which read a copy of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from executorch.backends.transforms.utils import get_param_tensor, is_param_node
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

from edgepack.toolchain.vendors.executorch_lowering import kind_of, quantizes

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

_PACKED = {
    "addmm": (0, 2),
    "bmm": (1,),
    "conv1d": (1, 2),
    "conv2d": (1, 2),
    "convolution": (1, 2),
    "linear": (1, 2),
    "mm": (1,),
    "prelu": (1,),
}
"""Which arguments an operator packs, where they are constants."""
LEFT = (
    "it reads the weights of a product, which XNNPACK packs and lets go of: in one subgraph with the product it would "
    "read memory that is no longer there"
)


class Partitioner(XnnpackPartitioner):  # type: ignore[misc]
    """Takes what XNNPACK's own takes, but for readers of packed weights.

    Args:
        exported: The program, with its numbers: when the partitioner is asked it sees one without.

    Attributes:
        left: Why an operator was left that XNNPACK's own takes, by the node's name.
    """

    def __init__(self, exported: ExportedProgram) -> None:
        super().__init__()
        self._real = {**exported.state_dict, **exported.constants}
        self.left: dict[str, str] = {}

    def get_matched_nodes_from_configs(self, ep: ExportedProgram) -> list[list[Node]]:
        """Groups of nodes that are delegated together."""
        groups = super().get_matched_nodes_from_configs(ep)
        weights = _Weights(ep, self._real)
        packed = {weights.size(one) for group in groups for one in weights.packed(group)}
        contents = (
            {weights.content(one) for group in groups for one in weights.packed(group)} if packed else set()
        )
        kept = []
        for group in groups:
            readers = [
                node.name
                for node, constant in weights.read(group)
                if weights.size(constant) in packed and weights.content(constant) in contents
            ]
            self.left |= dict.fromkeys(readers, LEFT)
            if not readers:
                kept.append(group)
        return kept


class _Weights:
    """A program's constants, and who does what with them."""

    def __init__(self, exported: ExportedProgram, real: Mapping[str, Any]) -> None:
        self._exported, self._real = exported, real
        self._contents: dict[str, bytes] = {}

    def packed(self, nodes: Iterable[Node]) -> Iterator[Node]:
        """The constants that some of these nodes pack."""
        for node in nodes:
            for position in _PACKED.get(kind_of(node), ()):
                constant = self._constant(node.args[position] if position < len(node.args) else None)
                if constant is not None:
                    yield constant

    def read(self, nodes: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
        """Nodes that compute with a constant as it is, and the constant."""
        for node in nodes:
            if node.op != "call_function" or quantizes(node):
                continue
            packed = {node.args[at] for at in _PACKED.get(kind_of(node), ()) if at < len(node.args)}
            for source in node.all_input_nodes:
                constant = None if source in packed else self._constant(source)
                if constant is not None:
                    yield node, constant

    def size(self, constant: Node) -> int:
        """Bytes of a constant: what is cheap to compare."""
        tensor = self._tensor(constant)
        return int(tensor.numel() * tensor.element_size())

    def content(self, constant: Node) -> bytes:
        """What two constants of the same bytes have in common."""
        if constant.name not in self._contents:
            data = self._real.get(self._target(constant))
            if data is None:  # a pass made it: at least it is the same as itself
                return constant.name.encode()
            data = data.detach().contiguous().flatten()
            raw = data.view(torch.uint8).numpy() if data.numel() else b""
            self._contents[constant.name] = hashlib.sha256(raw).digest()
        return self._contents[constant.name]

    def _constant(self, source: Any) -> Node | None:
        """The constant behind an argument, dequantized or as it is."""
        while getattr(source, "op", None) == "call_function" and quantizes(source) and source.args:
            source = source.args[0]
        if getattr(source, "op", None) == "placeholder" and is_param_node(self._exported, source):
            found: Node = source
            return found
        return None

    def _target(self, constant: Node) -> str:
        """What the program calls it."""
        signature = self._exported.graph_signature
        for names in (
            signature.inputs_to_parameters,
            signature.inputs_to_buffers,
            signature.inputs_to_lifted_tensor_constants,
        ):
            if constant.name in names:
                return str(names[constant.name])
        return ""

    def _tensor(self, constant: Node) -> Any:
        return get_param_tensor(self._exported, constant)
