"""An image copied into an NPU's own memory before its first layer, which otherwise reads it many times from DRAM.

    x -> convolution      becomes      x -> x 1 -> convolution

Where activations lie in DRAM and the NPU has a memory beside it (`Dedicated_Sram`), Vela places what operators give
into that memory where it fits, but inputs of the network never. A first convolution then fetches each window's pixels
from DRAM, three channels at a time, and waits for them by Vela's estimate: EfficientNet-Lite0's on an Ethos-U65 for
1.70 of 4.63 ms in 16 bits. A product with 1 in the same scale changes no integer; it reads the image once, and what it
gives lies in fast memory. By Vela 5.2.0, in ms, without and with it:

    EfficientNet-Lite0, 16-bit ends   Ethos-U65 4.63  3.59    Ethos-U85 3.40  3.77
    8 bits throughout                 Ethos-U65 3.57  2.95    Ethos-U85 3.23  3.27
    32 x 32 pixels, 8 bits            Ethos-U65 0.0276 0.0278 Ethos-U85 0.0213 0.0151

So it is tried, and kept where Vela's estimate gets less.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import tflite

if TYPE_CHECKING:
    import numpy as np

_IMAGE = 4
_BRICK = 16
"""Channels that the NPU moves at once: an image with as many is read well enough where it is."""
_READERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "PAD"})


def stage_images(model: Any) -> int:
    """Put a product with 1 behind every image of a quantized model, in place.

    Args:
        model: The schema's `ModelT`.

    Returns:
        How many images; 0 where there is none of few channels that only convolutions read.
    """
    from ai_edge_litert.schema_py_generated import TensorType

    graph = model.subgraphs[0]
    kinds = {TensorType.INT8: "int8", TensorType.INT16: "int16"}
    readers: dict[int, set[str]] = {}
    for operator, raw in zip(tflite.operators(model), graph.operators, strict=True):
        for index in raw.inputs:
            readers.setdefault(int(index), set()).add(operator.op)
    count = 0
    for index in map(int, graph.inputs):
        tensor, used = graph.tensors[index], readers.get(index, set())
        few = tensor.shape is not None and len(tensor.shape) == _IMAGE and tensor.shape[3] < _BRICK
        if few and tensor.type in kinds and used and used <= _READERS:
            _stage(model, index, kinds[tensor.type])
            count += 1
    return count


def _stage(model: Any, index: int, dtype: str) -> None:
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    image = graph.tensors[index]
    near = copy.copy(image)
    near.name, near.buffer = bytes(image.name) + b"/staged", 0
    graph.tensors.append(near)
    made = len(graph.tensors) - 1
    for operator in graph.operators:
        operator.inputs = [made if int(i) == index else int(i) for i in operator.inputs]
    one = _one(model, np.ones((), dtype), image.type, bytes(image.name) + b"/one")
    product = schema.OperatorT()
    product.opcodeIndex = _code(model, schema.BuiltinOperator.MUL, 4 if dtype == "int16" else 3)
    product.inputs, product.outputs = [index, one], [made]
    product.builtinOptionsType = schema.BuiltinOptions.MulOptions
    product.builtinOptions = schema.MulOptionsT()
    graph.operators = [product, *graph.operators]


def _one(model: Any, value: np.ndarray, kind: int, name: bytes) -> int:
    """The index of a new constant, the integer 1 in the scale 1."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.hasRank, tensor.type = name, [], True, kind
    tensor.buffer = len(model.buffers) - 1
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0], [0]
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _code(model: Any, builtin: int, version: int) -> int:
    """The index of a new code."""
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
