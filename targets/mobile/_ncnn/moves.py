"""Operators that move, repeat and join elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.arithmetic import together
from edgepack.targets.mobile._ncnn.layers import MOST, Tensor, merge
from edgepack.targets.mobile._ncnn.translation import Translation, finite, lay, operator, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

_PADDING = {"constant": 0, "edge": 1, "reflect": 2}


@operator("Reshape", "Unsqueeze", "Squeeze", "Flatten")
def _reshape(t: Translation, node: ir.Node) -> list[Tensor]:
    """The elements stay as they lie: the next layer that wants another shape asks for it."""
    return [t.number(node.inputs[0])]


def transpose(t: Translation, x: Tensor, shape: Sequence[int], order: Sequence[int]) -> Tensor:
    """The elements of a value of this shape with its axes in another order; laid in any shape.

    Axes of length 1 do not move anything, and those that stay side by side move as one. Where more than four are left,
    they are moved one after the other: each is taken past those between it and its place, which is a move of four.
    """
    order = [axis for axis in order if shape[axis] != 1]
    groups: list[list[int]] = []
    rank = {axis: place for place, axis in enumerate(sorted(order))}
    for axis in order:
        if groups and rank[axis] == rank[groups[-1][-1]] + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) < 2:  # noqa: PLR2004 - nothing passes anything
        return x
    now = sorted(groups)
    sizes = {group[0]: math.prod(shape[axis] for axis in group) for group in groups}
    if len(groups) <= MOST:
        laid = t.layers.reshape(x, [sizes[group[0]] for group in now])
        return t.layers.permute(laid, [now.index(group) for group in groups])
    for place, group in enumerate(groups):
        found = now.index(group)
        if found == place:
            continue
        parts = (now[:place], now[place:found], now[found : found + 1], now[found + 1 :])
        x = t.layers.reshape(x, [math.prod(sizes[one[0]] for one in part) for part in parts])
        x = t.layers.permute(x, (0, 2, 1, 3))
        now.insert(place, now.pop(found))
    return x


@operator("Transpose")
def _transpose(t: Translation, node: ir.Node) -> list[Tensor]:
    shape = shape_of(node.inputs[0])
    order = node.attributes.get_ints("perm") or tuple(reversed(range(len(shape))))
    return [transpose(t, t.number(node.inputs[0]), shape, order)]


def along(t: Translation, value: ir.Value | None, axis: int) -> tuple[Tensor, int]:
    """A value laid so that an axis of its shape is one of the tensor's, and which.

    Args:
        t: The translation.
        value: The value.
        axis: Of its shape.
    """
    shape = shape_of(value)
    short = lay(shape)
    gone = len(shape) - len(short)
    axis %= len(shape)
    if axis >= gone and tuple(shape[gone:]) == short:
        return t.number(value, short), axis - gone
    outer, length, inner = merge(shape, axis)
    if inner == 1:
        return (t.number(value, (outer, length)), 1) if outer > 1 else (t.number(value, (length,)), 0)
    return (
        (t.number(value, (outer, length, inner)), 1) if outer > 1 else (t.number(value, (length, inner)), 0)
    )


@operator("Concat")
def _concat(t: Translation, node: ir.Node) -> list[Tensor]:
    axis = node.attributes.get_int("axis")
    values = [value for value in node.inputs if math.prod(shape_of(value))]
    outer, _, inner = merge(shape_of(node.outputs[0]), axis)
    parts = [t.number(value, (outer, merge(shape_of(value), axis)[1], inner)) for value in values]
    return [t.layers.concat(parts, 1)]


@operator("Split")
def _split(t: Translation, node: ir.Node) -> list[Tensor]:
    axis = node.attributes.get_int("axis", 0)
    x, place = along(t, node.inputs[0], axis)
    sizes = [shape_of(value)[axis] for value in node.outputs]
    return t.layers.split(x, place, sizes)


@operator("Slice")
def _slice(t: Translation, node: ir.Node) -> list[Tensor]:
    """One crop an axis; of a step of n, the first of every n."""
    shape = list(shape_of(node.inputs[0]))
    told = [t.known(value) for value in node.inputs[1:]]
    if any(one is None for one in told[:2]):
        if node.attributes.get_ints("starts") is None:
            raise t.error(node, "has bounds that are computed")
        told = [node.attributes.get_ints(name) for name in ("starts", "ends", "axes")]  # type: ignore[misc]
    starts, ends = ([int(i) for i in one] for one in told[:2] if one is not None)
    axes = [int(i) for i in told[2]] if len(told) > 2 and told[2] is not None else list(range(len(starts)))  # noqa: PLR2004
    steps = [int(i) for i in told[3]] if len(told) > 3 and told[3] is not None else [1] * len(starts)  # noqa: PLR2004
    made = t.number(node.inputs[0])
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        first, last, step = slice(start, end, step).indices(shape[axis])  # noqa: PLW2901 - the same, resolved
        count = len(range(first, last, step))
        outer, length, inner = merge(shape, axis)
        shape[axis] = count
        if count == length and step > 0:
            continue
        if not count:
            raise t.error(node, "gives nothing, and ncnn has no empty tensors")
        made = t.layers.reshape(made, (outer, length, inner))
        if step < 0:
            first, step = length - 1 - first, -step  # noqa: PLW2901
            made = t.layers.add("Flip", [made], [made.shape], {0: [1]})[0]
        made = t.layers.crop(made, 1, first, min(first + count * step, length))
        if step > 1:
            lacking = count * step - made.shape[1]
            if lacking:
                made = t.layers.add(
                    "Padding",
                    [made],
                    [(outer, count * step, inner)],
                    {0: 0, 1: lacking, 2: 0, 3: 0, 4: 0, 5: 0.0},
                )[0]
            made = t.layers.reshape(made, (outer * count, step, inner))
            made = t.layers.crop(made, 1, 0, 1)
    return [made]


@operator("Expand")
def _expand(t: Translation, node: ir.Node) -> list[Tensor]:
    made = shape_of(node.outputs[0])
    return [_repeated(t, node, node.inputs[0], made)]


def _repeated(t: Translation, node: ir.Node, value: ir.Value | None, shape: Sequence[int]) -> Tensor:
    shapes = together([shape_of(value), shape])
    if shapes is None:
        raise t.error(node, "repeats its input along more axes than ncnn's tensors have")
    before, after = shapes
    return t.layers.tile(t.number(value, before), [b // a for a, b in zip(before, after, strict=True)])


@operator("Tile")
def _tile(t: Translation, node: ir.Node) -> list[Tensor]:
    repeats = t.known(node.inputs[1])
    shape = shape_of(node.inputs[0])
    if repeats is None:
        raise t.error(node, "is told while the model runs how often")
    made = t.number(node.inputs[0])
    now = list(shape)
    for axis, count in enumerate(map(int, repeats)):
        if count > 1:
            outer, length, inner = merge(now, axis)
            made = t.layers.tile(t.layers.reshape(made, (outer, length * inner)), (1, count))
            now[axis] = length * count
    return [made]


@operator("Pad")
def _pad(t: Translation, node: ir.Node) -> list[Tensor]:
    """One axis after the other; negative numbers crop."""
    mode = node.attributes.get_string("mode", "constant")
    given = t.known(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("pads")
    if given is None or mode not in _PADDING:
        raise t.error(node, f"pads by {mode}, or by numbers that are computed")
    fill = t.known(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None  # noqa: PLR2004
    value = 0.0 if fill is None else float(finite(fill).ravel()[0])
    axes = t.known(node.inputs[3]) if len(node.inputs) > 3 else None  # noqa: PLR2004
    shape = list(shape_of(node.inputs[0]))
    pads = [int(count) for count in given]
    half = len(pads) // 2
    made = t.number(node.inputs[0])
    for place, axis in enumerate(range(half) if axes is None else map(int, axes)):
        outer, length, inner = merge(shape, axis)
        before, after = pads[place], pads[place + half]
        if min(before, after) < 0:
            made = t.layers.reshape(made, (outer, length, inner))
            made = t.layers.crop(made, 1, max(-before, 0), length - max(-after, 0))
            before, length, after = max(before, 0), made.shape[1], max(after, 0)
        if before or after:
            made = t.layers.add(
                "Padding",
                [t.layers.reshape(made, (outer, length, inner))],
                [(outer, before + length + after, inner)],
                {0: before, 1: after, 2: 0, 3: 0, 4: _PADDING[mode], 5: value},
            )[0]
        shape[axis] = before + length + after
    return [made]


@operator("DepthToSpace")
def _depth_to_space(t: Translation, node: ir.Node) -> list[Tensor]:
    batch, channels, height, width = shape_of(node.inputs[0])
    if batch != 1:
        raise t.error(node, f"is of {batch} images at once, and ncnn's layer takes one")
    block = node.attributes.get_int("blocksize")
    depth_first = node.attributes.get_string("mode", "DCR") == "CRD"
    x = t.number(node.inputs[0], (channels, height, width))
    shape = (channels // block**2, height * block, width * block)
    return t.layers.add("PixelShuffle", [x], [shape], {0: block, 1: int(not depth_first)})
