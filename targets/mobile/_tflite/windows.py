"""Windows that slide over images: how ONNX's paddings become TFLite's.

A window of k elements with dilation d covers e = d (k - 1) + 1. Where `out` windows stand s apart on `size` elements,
the last one ends at (out - 1) s + e, so that

    before + size + after = (out - 1) s + e,

with less behind when windows do not reach the end. TFLite has VALID (nothing added) and SAME, where out =
ceil(size / s) and the smaller half of what is missing lies before. Everything else is a PAD in front of VALID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.graph import Tensor

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Windows:
    """Where windows stand along each spatial axis."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Elements from a window's first to its last."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True))

    @property
    def after(self) -> tuple[int, ...]:
        """Elements added behind, as many as the last window needs."""
        return tuple(
            max(0, (out - 1) * s + e - size - before)
            for out, s, e, size, before in zip(
                self.out, self.strides, self.extent, self.size, self.before, strict=True
            )
        )

    @property
    def padding(self) -> str | None:
        """TFLite's own padding where it is this one: "VALID" or "SAME"; else None."""
        if not any(self.before) and not any(self.after):
            return "VALID"
        for size, out, s, e, before in zip(
            self.size, self.out, self.strides, self.extent, self.before, strict=True
        ):
            if out != -(-size // s) or before != max(0, (out - 1) * s + e - size) // 2:
                return None
        return "SAME"

    def counts(self, *, declared: Sequence[int] | None = None) -> np.ndarray:
        """How many elements each window holds that count: those of the input, and of `declared` paddings behind.

        Args:
            declared: With it, paddings count: those before, and so many behind (a window may stick out further).
        """
        parts = []
        for at, (size, out, s, k, d, before) in enumerate(
            zip(self.size, self.out, self.strides, self.kernel, self.dilations, self.before, strict=True)
        ):
            low, high = (0, size) if declared is None else (-before, size + declared[at])
            places = np.arange(out)[:, None] * s - before + np.arange(k)[None] * d
            parts.append(((places >= low) & (places < high)).sum(1))
        total: np.ndarray = parts[0].astype(np.float32)
        for part in parts[1:]:
            total = total[..., None] * part
        return total


def windows(node: Node, size: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> Windows:
    """A node's windows from its attributes.

    Raises:
        NotServed: A spatial dimension is open.
    """
    rank = len(kernel)
    if any(n < 0 for n in (*size, *out)):
        node.refuse("the image's size is open", "Give sizes for height and width")
    strides = node.attribute("strides", [1] * rank)
    dilations = node.attribute("dilations", [1] * rank)
    pads = node.attribute("pads", [0] * 2 * rank)
    mode = node.attribute("auto_pad", "NOTSET")
    before = list(pads[:rank])
    if mode == "VALID":
        before = [0] * rank
    elif mode.startswith("SAME"):
        for at in range(rank):
            extent = dilations[at] * (kernel[at] - 1) + 1
            total = max(0, (out[at] - 1) * strides[at] + extent - size[at])
            before[at] = total // 2 if mode == "SAME_UPPER" else total - total // 2
    return Windows(*(tuple(int(n) for n in each) for each in (size, out, kernel, strides, dilations, before)))


def padded(node: Node, x: Tensor, w: Windows, filler: np.ndarray | None = None) -> Tensor:
    """The image [N, H, W, C] with the margins that its windows need, of 0 or of `filler`."""
    margins = np.zeros((4, 2), np.int32)
    margins[1:3] = np.array([w.before, w.after]).T
    shape = tuple(n + int(a) + int(b) for n, (a, b) in zip(x.shape, margins, strict=True))
    where = node.integers(margins, "paddings")
    if filler is None:
        return node.emit("PAD", [x, where], shape)
    return node.emit("PADV2", [x, where, node.constant(filler, "filler", x.quantization)], shape)
