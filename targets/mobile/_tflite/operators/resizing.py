"""Images in another size.

With s = out / in, pixel i of the result lies in the input at i / s (asymmetric), (i + 1/2) / s - 1/2 (half_pixel), or
i (in - 1) / (out - 1) (align_corners). TFLite knows the three; where its rounding to the nearest pixel is another than
the node's, pixels are gathered by number instead, which is exact for every rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.windows import TO_FIRST, TO_LAST

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node

_IMAGE = 4
_RULES = 11  # the operator set from which a node says where its pixels lie
_CLOSE = 1e-6
_ROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@operator("Resize", "Upsample", to="RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR, GATHER, TRANSPOSE", integer=BOTH,
          moves=True, limits="nearest and linear; linear of height and width, without antialias")  # fmt: skip
def resize(node: Node) -> None:
    """The image sampled at other places: the nearest pixel, or a mean of four."""
    shape, out = node.shape(0), node.out_shape()
    if -1 in (*shape, *out):
        node.refuse("the image's size is open", "Give sizes for height and width")
    mode = node.attribute("mode", "nearest")
    scales = _scales(node, shape, out)
    if mode == "nearest":
        _nearest(node, shape, out, scales)
    elif mode in {"linear", "bilinear"} and not node.attribute("antialias", 0):
        _linear(node, shape, out, scales)
    else:
        node.refuse(f"its mode is {mode}{' with antialias' if node.attribute('antialias', 0) else ''}")


def _scales(node: Node, shape: Sequence[int], out: Sequence[int]) -> list[float]:
    """Out / in along each axis as the node gives it, or as the sizes make it."""
    made = [o / n for o, n in zip(out, shape, strict=True)]
    place = 1 if node.op == "Upsample" else 2
    given = node.attribute("scales") if node.attribute("scales") is not None else node.small(place)
    axes = node.attribute("axes", list(range(len(shape))))
    if given is None or not len(given):
        return made
    for axis, scale in zip(axes, given, strict=True):
        made[axis] = float(scale)
    return made


def _rule(node: Node) -> str:
    if node.op == "Upsample":
        return "asymmetric"
    found: str = node.attribute(
        "coordinate_transformation_mode", "half_pixel" if node.opset >= _RULES else "asymmetric"
    )
    return found


def _places(rule: str, size: int, out: int, scale: float, node: Node) -> np.ndarray:
    """Where each pixel of the result lies along an axis of the input."""
    index = np.arange(out, dtype=np.float64)
    if rule == "asymmetric":
        return index / scale
    if rule == "half_pixel" or (rule == "pytorch_half_pixel" and out > 1):
        return (index + 0.5) / scale - 0.5
    if rule == "align_corners":
        return index * (size - 1) / (out - 1) if out > 1 else index * 0
    if rule == "pytorch_half_pixel":
        return index * 0
    return node.refuse(f"its coordinates are {rule}")


def _nearest(node: Node, shape: Sequence[int], out: Sequence[int], scales: Sequence[float]) -> None:
    rule = _rule(node)
    rounding = "floor" if node.op == "Upsample" or node.opset < _RULES else "round_prefer_floor"
    rounded = _ROUND[node.attribute("nearest_mode", rounding)]
    axes = [at for at in range(len(shape)) if shape[at] != out[at] or scales[at] != 1.0]
    picked = {
        at: np.clip(rounded(_places(rule, shape[at], out[at], scales[at], node)), 0, shape[at] - 1).astype(
            np.int32
        )
        for at in axes
    }
    for half in (False, True):
        same = all(np.array_equal(picked[at], _kernel(shape[at], out[at], half=half)) for at in axes)
        if same and len(shape) == _IMAGE and set(axes) <= {2, 3}:
            _image(node, "RESIZE_NEAREST_NEIGHBOR", out, halfPixelCenters=half)
            return
    x = node.x(0)
    for at in axes:
        dims = [*x.shape[:at], out[at], *x.shape[at + 1 :]]
        x = node.emit("GATHER", [x, node.integers(picked[at], "pixels")], dims, axis=at)
    node.bind(x)


def _kernel(size: int, out: int, *, half: bool) -> np.ndarray:
    """The pixels that TFLite's kernel takes along an axis (it computes in float32)."""
    index = np.arange(out, dtype=np.float32) + np.float32(0.5 if half else 0.0)
    pixels: np.ndarray = np.minimum(np.floor(index * np.float32(size / out)), size - 1).astype(np.int32)
    return pixels


def _linear(node: Node, shape: Sequence[int], out: Sequence[int], scales: Sequence[float]) -> None:
    if node.integer == "int16":
        raise NotInteger("TFLite's kernel interpolates with 10 bits, which 16-bit numbers would show")
    rule = _rule(node)
    if len(shape) != _IMAGE or tuple(shape[:2]) != tuple(out[:2]):
        node.refuse("it is linear along other axes than height and width of [N, C, H, W]")
    if any(abs(scale - o / n) > _CLOSE for scale, o, n in zip(scales, out, shape, strict=True)):
        node.refuse("its scales are not those of the sizes", "Give sizes instead of scales")
    flat = any(o == 1 and n != 1 for o, n in zip(out[2:], shape[2:], strict=True))
    if rule not in {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"} or (
        rule == "pytorch_half_pixel" and flat
    ):
        node.refuse(f"its coordinates are {rule}")
    _image(
        node,
        "RESIZE_BILINEAR",
        out,
        halfPixelCenters="half_pixel" in rule,
        alignCorners=rule == "align_corners",
    )


def _image(node: Node, code: str, out: Sequence[int], **given: Any) -> None:
    x = node.transposed(node.x(0), TO_LAST)
    made = node.emit(code, [x, node.integers(out[2:], "size")], (out[0], *out[2:], out[1]), **given)
    node.bind(node.transposed(made, TO_FIRST))
