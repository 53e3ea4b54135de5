"""`pixel scores`: the product that ends a network of images, with what pooling left of the image.

    W f + b,  f = row of an image of one pixel      =      row of  conv(image; W as 1 x 1 kernels, b)

The features of a pooled image are a row only for the product's sake, and the scores are one only for the caller's. An
NPU whose tensors are blocks of channels makes a convolution of such a product by itself, and takes the scores apart on
the CPU where they fill no whole blocks (1000 classes in blocks of 16). As a convolution of the model's own, the change
of layout is the last thing that happens, and a target may leave it to its runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.passes.weights import array
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite
from edgepack.toolchain.rewrites.building import Build, known_shape

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_ONE_PIXEL = (1, 1)


@rewrite(
    "pixel scores",
    why="scores in the layout of images leave the NPU as they are; as a row the CPU would take them apart",
    cures=(Cure("Reshape", "channel blocks"),),
)
def pixel_scores(model: ir.Model, device: Device) -> int:
    """Write products of a pooled image that are outputs as convolutions of it; returns how many."""
    import numpy as np

    del device
    count = 0
    for node in list(model.graph):
        found = _weights(node)
        image = _image(node.inputs[0]) if found is not None else None
        if found is None or image is None:
            continue
        weights, bias = found
        shape = known_shape(image)
        if shape is None or shape[1] != weights.shape[1]:
            continue
        new = Build(model.graph, node)
        kernels = new.number(np.ascontiguousarray(weights[:, :, None, None]), "kernels")
        inputs = [image, kernels, *([] if bias is None else [new.number(bias, "bias")])]
        scores = new.op("Conv", inputs, "pixel", kernel_shape=[1, 1])
        new.finish("Reshape", [scores, new.number(np.array([shape[0], len(weights)]), "row")])
        count += 1
    return count


def _weights(node: ir.Node) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Weights [scores, features] and bias of a plain product that is an output; None for anything else."""
    import numpy as np

    if not standard(node, "Gemm") or not node.outputs[0].is_graph_output():
        return None
    if node.attributes.get_int("transA", 0) or any(
        node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")
    ):
        return None
    constants = [
        value.const_value if value is not None and not value.is_graph_input() else None
        for value in node.inputs[1:]
    ]
    if not constants or any(one is None for one in constants):
        return None
    weights, *rest = (array(one) for one in constants if one is not None)
    if weights.dtype != np.float32:
        return None
    weights = weights if node.attributes.get_int("transB", 0) else weights.T
    if not rest:
        return weights, None
    # Gemm's third input may be one number, or a row; a convolution's bias has one for every kernel.
    return (weights, np.broadcast_to(rest[0].reshape(-1), len(weights)).copy()) if rest[0].ndim <= 1 else None


def _image(value: ir.Value | None) -> ir.Value | None:
    """The image of one pixel that a row of features was; None where it was something else."""
    node = None if value is None else value.producer()
    if node is None or not standard(node, "Reshape", "Flatten", "Squeeze"):
        return None
    shape = known_shape(node.inputs[0])
    row = known_shape(node.outputs[0])
    return node.inputs[0] if shape is not None and shape[2:] == _ONE_PIXEL and row == shape[:2] else None
