"""How much noise each form puts into a group by itself, counted from weights and ranges without running anything.

    n = |W' - W|^2 / |W|^2  +  (s^2 / 12) / E[x^2]

with W' the rounded weight, and s the step of the rounded activation, whose error is spread evenly over a step:
255 steps over its range where it is rounded as a whole; where products with blockwise weights round it block by block,
127 steps up to the block's peak, taken as 2.1 standard deviations, the mean peak of 32 normal values. To first order
the errors
of layers add up, each weighed by what the layers behind it make of it: that weight is for a predictor to learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.quantize._onnx_blocks import dequantized, nearest
from edgepack.quantize._onnx_layers import linears, lookups
from edgepack.quantize._onnx_mixed_groups import BITS, BLOCK, Group, named
from edgepack.quantize._onnx_mixed_static import LEVELED
from edgepack.quantize._onnx_weights import channel_scales, to_int8
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize.onnx_mixed import Mixer

_COLUMNS = 256  # of a weight, and rows of a table, that are looked at
_STEPS = 255
_BLOCK_STEPS, _BLOCK_PEAK = 127, 2.1


def noises(mixer: Mixer) -> dict[tuple[str, str], float]:
    """The noise n by group and form; of groups of several weights their mean. Fp32 is not in it."""
    import onnx_ir as ir

    graph = ir.load(mixer.lowered.path).graph
    nodes = named(graph)
    products = {str(linear.node.name): linear for group in linears(graph).values() for linear in group}
    tables = {str(lookup.node.name): lookup for lookup in lookups(graph)}
    found: dict[tuple[str, str], float] = {}
    for group in mixer.groups:
        weights, names = [], []
        for name in group.nodes:
            if name in products:
                weights.append(products[name].oriented(array(products[name].weight))[:, :_COLUMNS])
                names.append(str(products[name].input.name))
            elif name in tables:
                weights.append(array(tables[name].table)[:_COLUMNS].T)
            else:
                weights.append(_kernel(nodes[name]))
                names.append(_input(nodes[name]))
        for form in group.forms[1:]:
            of_weights = [_relative(weight, form) for weight in weights]
            noise = sum(of_weights) / len(of_weights)
            if names:
                noise += _of_blocks() if form in BITS else _of_input(mixer, names[0])
            found[group.name, form] = noise
    return found


def counted_bytes(group: Group, form: str) -> float:
    """Bytes of a group's weights in a form, scales included."""
    total = 0.0
    for shape in group.shapes:
        elements = 1
        for dim in shape:
            elements *= dim
        if form == "fp32":
            total += 4 * elements
        elif form in BITS:
            total += elements * BITS[form] / 8 + 4 * elements / BLOCK
        else:
            channels = shape[1] if group.kind == "product" else shape[0]
            total += elements + 4 * channels
    return total


def _input(node: ir.Node) -> str:
    value = node.inputs[0]
    return "" if value is None else str(value.name)


def _kernel(node: ir.Node) -> np.ndarray:
    """A convolution's weight as [inputs and positions, outputs]."""
    value = node.inputs[1]
    assert value is not None and value.const_value is not None  # noqa: S101, PT018 - that is what makes it a group
    kernel = array(value.const_value)
    matrix: np.ndarray = kernel.reshape(len(kernel), -1)[:_COLUMNS].T
    return matrix


def _relative(weight: np.ndarray, form: str) -> float:
    """|W' - W|^2 / |W|^2 of a weight [inputs, outputs]."""
    import numpy as np

    weight = np.ascontiguousarray(weight, np.float32)
    if form in BITS:
        rounded = dequantized(nearest(weight, BITS[form], BLOCK, symmetric=True), len(weight), BITS[form])
    else:
        scales = channel_scales(weight, 1)
        rounded = to_int8(weight, scales, 1) * scales
    power = float(np.square(weight, dtype=np.float64).sum())
    return float(np.square(rounded - weight, dtype=np.float64).sum()) / power if power else 0.0


def _of_blocks() -> float:
    return (_BLOCK_PEAK / _BLOCK_STEPS) ** 2 / 12


def _of_input(mixer: Mixer, name: str) -> float:
    """(s^2 / 12) / E[x^2] of an activation, leveled where the forms level it."""
    facts = mixer.facts
    key = f"{name}{LEVELED}" if name in facts.factors else name
    low, high = (float(end) for end in facts.ranges[key])
    step = (max(high, 0.0) - min(low, 0.0)) / _STEPS
    square = facts.squares.get(key, 0.0)
    return step * step / 12 / square if square else 0.0
