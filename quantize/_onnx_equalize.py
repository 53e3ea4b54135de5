"""Cross-layer equalization: evens out the channels between two convolutions, without changing the result.

With r_i the largest |weight| of output channel i of the first, and of input channel i of the second convolution
(Nagel et al. 2019, arXiv:1906.04721, equations 5 and 11), between them an activation that passes factors through:

    W1_i <- W1_i / s_i      b1_i <- b1_i / s_i      W2_i <- W2_i s_i      s_i = sqrt(r1_i r2_i) / r2_i

Relu does pass them. Clip(0, h), of which Relu6 is one, becomes min(Clip(x, 0, max_i h / s_i), h / s_i): exact, where
the paper drops the bound, at the price of an operator that has no int8 kernel. Chains are equalized pair by pair until
nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_edit import Builder, drop_unused_constants
from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_ROUNDS = 20
_SETTLED = 1e-3  # relative change of a factor below which a round changed nothing
_WEIGHT, _BIAS = 1, 2  # places among a convolution's inputs


@dataclass(frozen=True, eq=False)
class Pair:
    """Two convolutions, the first's output read by the second alone.

    Attributes:
        first: Its output channels are divided.
        second: Its input channels are multiplied.
        activation: Relu or Clip between them, if any.
        bound: Upper bound of a Clip.
    """

    first: ir.Node
    second: ir.Node
    activation: ir.Node | None
    bound: float | None


def equalize(graph: ir.Graph) -> int:
    """Equalize all pairs of convolutions with constant weights; returns how many pairs."""
    import numpy as np

    found = pairs(graph)
    weights: dict[ir.Node, np.ndarray] = {}
    for node in dict.fromkeys(node for pair in found for node in (pair.first, pair.second)):
        tensor = node.inputs[_WEIGHT].const_value  # type: ignore[union-attr]
        weights[node] = array(tensor).astype(np.float64)  # type: ignore[arg-type]
    total = {pair: np.ones(len(weights[pair.first])) for pair in found}
    for _ in range(_ROUNDS):
        moved = 0.0
        for pair in found:
            first, second = weights[pair.first], _by_input(weights[pair.second], pair.second)
            factors = _factors(
                np.abs(first).reshape(len(first), -1).max(axis=1), np.abs(second).max(axis=(1, 3))
            )
            weights[pair.first] = first / factors.reshape(-1, *[1] * (first.ndim - 1))
            _scale_inputs(weights[pair.second], pair.second, factors)
            total[pair] *= factors
            moved = max(moved, float(np.abs(factors - 1).max()))
        if moved < _SETTLED:
            break
    for node, values in weights.items():
        build = Builder(graph, f"{node.outputs[0].name}/equalized")
        node.replace_input_with(_WEIGHT, build.constant(values.astype(np.float32), "weight"))
    for pair, factors in total.items():
        _divide_bias(graph, pair.first, factors)
        # No longer what the float model has under these names: whoever compares the two must not take it for that.
        pair.first.outputs[0].name = f"{pair.first.outputs[0].name}/equalized"
        if pair.activation is not None and pair.bound is None:
            pair.activation.outputs[0].name = f"{pair.activation.outputs[0].name}/equalized"
        if pair.bound is not None:
            _bound_by_channel(graph, pair, factors, weights[pair.first].ndim)
    drop_unused_constants(graph)
    return len(found)


def pairs(graph: ir.Graph) -> list[Pair]:
    """All pairs that can be equalized, in graph order."""
    found = []
    for node in graph:
        pair = _pair(node)
        if pair is not None:
            found.append(pair)
    return found


def _pair(first: ir.Node) -> Pair | None:
    if not _own_weights(first):
        return None
    after = _only_user(first)
    activation, bound = None, None
    if after is not None and standard(after, "Relu", "Clip"):
        activation = after
        if after.op_type == "Clip":
            bound = _upper_bound(after)
            if bound is None:
                return None
        after = _only_user(after)
    if after is None or not _own_weights(after):
        return None
    return Pair(first, after, activation, bound)


def _own_weights(node: ir.Node) -> bool:
    """Whether this is a float32 convolution whose constants nothing else reads."""
    import onnx_ir as ir

    if not standard(node, "Conv"):
        return False
    for value in node.inputs[_WEIGHT:]:
        if value is None:
            continue
        if not value.is_initializer() or value.is_graph_input() or len(value.uses()) != 1:
            return False
        if value.const_value is None or value.const_value.dtype is not ir.DataType.FLOAT:
            return False
    return True


def _only_user(node: ir.Node) -> ir.Node | None:
    """The one node that reads the output, as its first input."""
    output = node.outputs[0]
    uses = list(output.uses())
    if output.is_graph_output() or len(uses) != 1 or uses[0].idx != 0:
        return None
    user: ir.Node = uses[0].node
    return user if user.graph is node.graph else None


def _upper_bound(clip: ir.Node) -> float | None:
    """The bound h of Clip(0, h), else None."""
    if len(clip.inputs) < 3:  # noqa: PLR2004 - data and two bounds
        return None
    low, high = constant(clip.inputs[1]), constant(clip.inputs[2])
    if low is None or high is None or float(low.item()) != 0 or float(high.item()) <= 0:
        return None
    return float(high.item())


def _by_input(weight: np.ndarray, node: ir.Node) -> np.ndarray:
    """A view of a convolution's weight as [groups, outputs / groups, inputs / groups, positions]."""
    groups = node.attributes.get_int("group", 1)
    return weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)


def _scale_inputs(weight: np.ndarray, node: ir.Node, factors: np.ndarray) -> None:
    view = _by_input(weight, node)
    view *= factors.reshape(view.shape[0], 1, view.shape[2], 1)


def _factors(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The factors s of both ranges; a channel that is all zero on one side keeps 1."""
    import numpy as np

    second = second.reshape(-1)
    used = (first > 0) & (second > 0)
    factors: np.ndarray = np.where(used, np.sqrt(first / np.where(used, second, 1)), 1)
    return np.where(factors > 0, factors, 1)


def _divide_bias(graph: ir.Graph, node: ir.Node, factors: np.ndarray) -> None:
    import numpy as np

    value = node.inputs[_BIAS] if len(node.inputs) > _BIAS else None
    if value is None or value.const_value is None:
        return
    values = (array(value.const_value) / factors).astype(np.float32)
    build = Builder(graph, f"{node.outputs[0].name}/equalized")
    node.replace_input_with(_BIAS, build.constant(values, "bias"))


def _bound_by_channel(graph: ir.Graph, pair: Pair, factors: np.ndarray, rank: int) -> None:
    import numpy as np

    clip = pair.activation
    assert clip is not None  # noqa: S101 - it has the bound
    assert pair.bound is not None  # noqa: S101 - checked by the caller
    bounds = (pair.bound / factors).astype(np.float32)
    build = Builder(graph, f"{clip.outputs[0].name}/equalized")
    source = clip.inputs[0]
    assert source is not None  # noqa: S101 - a Clip has data
    # The largest bound for all: without it the range of what is quantized here would have no end.
    limits = [build.constant(np.float32(0), "low"), build.constant(bounds.max(), "high")]
    clipped = build.add("Clip", [source, *limits])
    clipped.type, clipped.shape = clip.outputs[0].type, clip.outputs[0].shape
    by_channel = build.constant(bounds.reshape(-1, *[1] * (rank - 2)), "bound")
    bounded = build.add("Min", [clipped, by_channel])
    build.replace(clip, bounded)
    bounded.name = f"{bounded.name}/equalized"
