"""From torch.export's programs to ExecuTorch's: delegated to XNNPACK, tried once, and told apart node by node.

For worker processes: importing the compiler takes seconds, and it logs and warns.

XNNPACK's partitioner takes the operators that have a configuration of its own and meet its constraints. Which
constraint another missed it says to its logger only; `Refusals` listens there.

Several programs become the methods of one file. Constants of equal content are in it once, whichever method reads them:
XNNPACK's lie under the hash of their bytes, the portable kernels' in one table.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.results import NodeReason
from edgepack.toolchain.vendors.executorch import INSTEAD, Facts, import_runtime

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

_LOGGER = "executorch.backends.xnnpack.partition"
_QUANTIZING = ("quantize_per", "dequantize_per", "quantize_affine", "dequantize_affine", "choose_qparams")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose")
_PRODUCTS = ("linear", "addmm", "mm", "matmul")
_LONGEST = 400
_LOOKED_UP = frozenset({"embedding", "index", "index_select", "gather"})
_CURES = {
    "_softmax": "Take the softmax along the last axis",
    "embedding": "None needed: rows are looked up, and nothing is computed",
    "native_layer_norm": "None: XNNPACK has no layer normalization; its share of the time is in the profile",
    "native_group_norm": "Use a normalization by fixed statistics (BatchNorm), which becomes part of a convolution",
    "upsample_nearest2d": "Use bilinear interpolation, which XNNPACK has",
}
_OTHER_CURE = (
    "Write it with operators that XNNPACK has, or leave it: it runs on the CPU, in a portable kernel"
)


class Refusals(logging.Handler):
    """Why XNNPACK's partitioner left a node, by the node's name; listens between `with` and its end."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.reasons: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a refusal; anything else that is logged passes."""
        node, reason = getattr(record.msg, "node", None), getattr(record.msg, "reason", None)
        if node is not None and reason:
            self.reasons[node.name] = " ".join(str(reason).split()).rstrip(".")

    def __enter__(self) -> Refusals:
        logger = logging.getLogger(_LOGGER)
        self._before = logger.level, logger.propagate
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger(_LOGGER)
        logger.removeHandler(self)
        logger.level, logger.propagate = self._before


def write(methods: Mapping[str, ExportedProgram], path: Path, part: str) -> dict[str, Any]:
    """Lower to XNNPACK, write the program, call each method once, and say what runs where.

    Args:
        methods: By name, with fixed sizes and example inputs; quantized or not.
        path: The `.pte` file.
        part: Name of the part, for messages.

    Returns:
        `Facts` of all methods together, as plain data.

    Raises:
        TargetError: ExecuTorch has no kernel for an operator, or does not take the program.
    """
    from importlib import metadata

    from executorch.exir import to_edge_transform_and_lower

    from edgepack.toolchain.vendors._executorch_partitioner import Partitioner

    counts = [multiplications(exported.graph_module) for exported in methods.values()]
    partitioners = {name: Partitioner(exported) for name, exported in methods.items()}
    known = frozenset(name for one in partitioners.values() for name in one.target_partitioner_configs)
    try:
        with Refusals() as refusals:
            edge = to_edge_transform_and_lower(
                dict(methods), partitioner={name: [one] for name, one in partitioners.items()}
            )
        graphs = [edge.exported_program(name).graph_module for name in methods]
        delegates = [inner for graph in graphs for inner in _delegates(graph)]
        inside = [node for inner in delegates for node in _computing(inner)]
        facts = Facts(
            version=metadata.version("executorch"),
            delegated=len(inside),
            subgraphs=len(delegates),
            integer=sum(reads_quantized(node) for node in inside),
            portable=tuple(
                _reason(node, refusals.reasons, partitioners[name].left, known)
                for name, graph in zip(methods, graphs, strict=True)
                for node in _calls(graph)
            ),
            convolutions=sum(convolutions for convolutions, _ in counts),
            products=sum(products for _, products in counts),
            outputs=(),
        )
        made = edge.to_executorch()  # changes the graph: memory is planned, operators write into it
    except Exception as error:
        raise refused(error, part) from error
    _refuse_lacking(made, part)
    path.write_bytes(made.buffer)
    outputs = [shape for name, exported in methods.items() for shape in _try(path, name, exported, part)]
    return {**asdict(facts), "portable": [row.model_dump() for row in facts.portable], "outputs": outputs}


def multiplications(graph: GraphModule) -> tuple[int, int]:
    """Multiplications of one call: those of convolutions, and those of products with a constant matrix.

    A convolution multiplies once for each output element and each weight of one filter, a product once for
    each output element and each row of the matrix; a transposed convolution for each input element instead.
    """
    convolutions = products = 0
    for node in _calls(graph):
        kind = kind_of(node)
        if kind.startswith(_CONVOLUTIONS):
            weight, moved = _shape(node.args[1]), node.args[0] if "transpose" in kind else node
            if weight and weight[0]:
                convolutions += math.prod(_shape(moved)) * math.prod(weight[1:])
        elif kind in _PRODUCTS:
            matrix = node.args[2 if kind == "addmm" else 1]
            if _constant(matrix):
                products += math.prod(_shape(node)) * _shape(matrix)[-1 if kind == "linear" else 0]
    return convolutions, products


def kind_of(node: Node) -> str:
    """An operator's name without its namespace and overload: "linear"."""
    names = str(getattr(node.target, "__name__", node.target)).split(".")
    return names[-2] if len(names) > 1 else names[-1]


def quantizes(node: Node) -> bool:
    """Whether a node quantizes, dequantizes or finds a scale."""
    return kind_of(node).startswith(_QUANTIZING)


def reads_quantized(node: Node) -> bool:
    """Whether an operator's input comes out of a dequantization."""
    return any(source.op == "call_function" and quantizes(source) for source in node.all_input_nodes)


def _calls(graph: GraphModule) -> list[Node]:
    """The operators of a graph, without the calls of delegates and the choosing among their results."""
    return [
        node
        for node in graph.graph.nodes
        if node.op == "call_function" and kind_of(node) not in {"getitem", "executorch_call_delegate"}
    ]


def _computing(graph: GraphModule) -> list[Node]:
    return [node for node in _calls(graph) if not quantizes(node)]


def _delegates(graph: GraphModule) -> list[GraphModule]:
    """The graphs inside XNNPACK."""
    from executorch.exir.lowered_backend_module import get_lowered_submodules

    return [module.original_module.graph_module for _, module, _ in get_lowered_submodules(graph)]


def _shape(node: Any) -> Sequence[int]:
    value = node.meta.get("val") if hasattr(node, "meta") else None
    return tuple(int(size) for size in getattr(value, "shape", ()))


def _constant(node: Any) -> bool:
    """Whether a tensor is a weight, as it is, transposed or dequantized."""
    while getattr(node, "op", None) == "call_function" and node.args:
        node = node.args[0]
    return getattr(node, "op", None) == "placeholder" and node.name.startswith(("p_", "b_", "c_"))


def _reason(
    node: Node, reasons: Mapping[str, str], left: Mapping[str, str], known: frozenset[str]
) -> NodeReason:
    kind, target = kind_of(node), str(getattr(node.target, "__name__", node.target))
    plain = target.partition(".")[2] if target.count(".") > 1 else target
    if node.name in left:
        why = left[node.name]
    elif node.name in reasons:
        why = f"XNNPACK's partitioner: {reasons[node.name]}"
    elif plain in known:
        why = "XNNPACK takes it only among quantized neighbours, or joined to one that it takes"
    elif kind in _LOOKED_UP:
        why = "XNNPACK computes, and does not look up"
    else:
        why = f"XNNPACK's delegate has no {plain}"
    return NodeReason(node=node.name, op=plain, reason=why, cure=_CURES.get(kind, _OTHER_CURE))


def _refuse_lacking(made: Any, part: str) -> None:
    """Raise TargetError when the runtime does not have every kernel that a program calls."""
    runtime, _ = import_runtime()
    have = runtime.get().operator_registry.operator_names
    lacking = sorted(set(_kernels(made)) - set(have))
    if lacking:
        raise TargetError(
            f"ExecuTorch has no kernel for {', '.join(lacking)}",
            where=f"part {part}",
            todo=INSTEAD,
        )


def _kernels(made: Any) -> Iterator[str]:
    for plan in made.executorch_program.execution_plan:
        for operator in plan.operators:
            yield f"{operator.name}.{operator.overload}" if operator.overload else operator.name


def _try(path: Path, method: str, exported: ExportedProgram, part: str) -> list[list[int]]:
    """Load a method and call it with the example: whatever the runtime lacks shows here, in this process.

    Returns:
        The outputs' shapes.

    Raises:
        TargetError: The runtime does not load or run it, or its outputs have other shapes.
    """
    import torch

    runtime, _ = import_runtime()
    args, _ = exported.example_inputs or ((), {})
    try:
        program = runtime.get().load_program(path)
        made = program.load_method(method).execute(args)
    except Exception as error:
        raise refused(error, part) from error
    outputs = exported.graph_module.graph.output_node().args[0]
    wanted = [list(_shape(node)) for node in outputs]
    found = [list(value.shape) if isinstance(value, torch.Tensor) else [] for value in made]
    if found != wanted[len(wanted) - len(found) :]:
        raise TargetError(
            f"ExecuTorch gives outputs of the shapes {found}, and the model has {wanted}",
            where=f"part {part}",
            todo=INSTEAD,
        )
    return found


def refused(error: Exception, part: str) -> TargetError:
    """The compiler's or runtime's exception in a paragraph."""
    words = " ".join(str(error).split())[:_LONGEST] or "it does not say why"
    return TargetError(
        f"ExecuTorch cannot take this model: {type(error).__name__}: {words}",
        where=f"part {part}",
        todo=INSTEAD,
    )
