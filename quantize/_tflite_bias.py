"""Bias correction: takes back the mean shift that rounding weights gives to a layer's outputs.

A layer y = W x + b with rounded weights Q(W) is wrong by (Q(W) - W) x, whose mean over the data is
(Q(W) - W) E[x]: a constant, and therefore something the bias can take back:

    b' = b - (Q(W) - W) E[x]

with E[x] the mean of each input channel over calibration samples and positions, of the float model
(Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization through Weight Equalization and
Bias Correction", 2019, section 4.2, with measured instead of derived means). Depthwise convolutions gain
most: each output has a handful of weights, whose errors do not average out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def correct_biases(
    model: Any,
    quantized: Any,
    float_path: Path,
    samples: Iterable[Mapping[str, np.ndarray]],
    threads: int = 1,
) -> int:
    """Correct the biases of `quantized` in place.

    Args:
        model: The float model (`ModelT`).
        quantized: Its quantized form, whose tensors carry the float model's names.
        float_path: The file of `model`, to run it.
        samples: Inputs by the file's signature names, in its layout and dtypes.
        threads: Threads that the float model is run with.

    Returns:
        How many layers were corrected.
    """
    import numpy as np

    layers = _layers(model)
    means = _input_means(float_path, {layer["input"] for layer in layers.values()}, samples, threads)
    corrected = 0
    for name, layer in _layers(quantized).items():
        original = layers.get(name)
        if original is None or "bias" not in layer or layer["weights_scale"] is None:
            continue
        scale = layer["weights_scale"]
        shape = [1] * layer["weights"].ndim
        shape[layer["axis"]] = -1
        error = layer["weights"].astype(np.float64) * scale.reshape(shape) - original["weights"]
        mean = means[original["input"]]
        # Weights are [out, ..., in]; depthwise [1, h, w, in * multiplier], output channel by output channel.
        if layer["op"] == "DEPTHWISE_CONV_2D":
            multiplier = error.shape[-1] // mean.size
            shift = error.sum(axis=(0, 1, 2)) * np.repeat(mean, multiplier)
        elif error.shape[-1] == mean.size:
            shift = error.reshape(error.shape[0], -1, error.shape[-1]).sum(axis=1) @ mean
        else:  # grouped convolution
            groups = mean.size // error.shape[-1]
            by_group = np.repeat(mean.reshape(groups, -1), error.shape[0] // groups, axis=0)
            shift = (error.sum(axis=(1, 2)) * by_group).sum(axis=1)
        _shift_bias(quantized, layer, -shift)
        corrected += 1
    return corrected


def _shift_bias(model: Any, layer: Mapping[str, Any], shift: np.ndarray) -> None:
    import numpy as np

    tensor, values = layer["bias_tensor"], layer["bias"]
    if values.dtype.kind == "f":
        moved = (values + shift).astype(values.dtype)
    else:
        limits = np.iinfo(np.int32)  # a 64-bit bias stays within what 32-bit accumulators take
        steps = np.asarray(tensor.quantization.scale, np.float64)
        # A channel without weights has a vanishing step, and nothing to correct.
        counts = np.divide(shift, steps, out=np.zeros_like(shift), where=np.abs(shift) < steps * limits.max)
        moved = np.clip(values + np.rint(counts), limits.min, limits.max).astype(values.dtype)
    buffer = type(model.buffers[0])()
    buffer.data = np.frombuffer(moved.tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)  # a buffer of its own: equal biases may have shared one
    tensor.buffer = len(model.buffers) - 1


def _layers(model: Any) -> dict[str, dict[str, Any]]:
    """Layers with constant weights by the name of their output."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import TensorType

    from edgepack.toolchain import tflite

    dtypes = {
        TensorType.FLOAT32: np.float32,
        TensorType.INT8: np.int8,
        TensorType.INT32: np.int32,
        TensorType.INT64: np.int64,
    }
    graph, result = model.subgraphs[0], {}

    def array(tensor: Any) -> np.ndarray | None:
        data = model.buffers[tensor.buffer].data
        if data is None or tensor.type not in dtypes:
            return None
        return np.frombuffer(bytes(data), dtypes[tensor.type]).reshape([int(n) for n in tensor.shape])

    for operator, raw in zip(tflite.operators(model), graph.operators, strict=True):
        source = operator.inputs[0]
        if operator.op not in _LAYERS or source is None:
            continue
        weights = graph.tensors[raw.inputs[1]]
        values = array(weights)
        if values is None:
            continue
        quantization = weights.quantization
        scaled = quantization is not None and quantization.scale is not None and values.dtype == np.int8
        layer = {
            "op": operator.op,
            "input": source.name,
            "weights": values,
            "weights_scale": np.asarray(quantization.scale, np.float64) if scaled else None,
            "axis": int(quantization.quantizedDimension) if scaled else 0,
        }
        if len(raw.inputs) > 2 and raw.inputs[2] >= 0:  # noqa: PLR2004 - input, weights, bias
            bias = graph.tensors[raw.inputs[2]]
            bias_values = array(bias)
            if bias_values is not None:
                layer |= {"bias_tensor": bias, "bias": bias_values}
        result[operator.name] = layer
    return result


def _input_means(
    path: Path, names: set[str], samples: Iterable[Mapping[str, np.ndarray]], threads: int
) -> dict[str, np.ndarray]:
    """Mean of every channel (last axis) of the named tensors over samples and positions."""
    import warnings

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from edgepack.toolchain.tflite import SIGNATURE_KEY

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(path), num_threads=threads, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    inputs = interpreter.get_signature_runner(SIGNATURE_KEY).get_input_details()
    indices = {d["name"]: d["index"] for d in interpreter.get_tensor_details() if d["name"] in names}
    sums = dict.fromkeys(names, np.float64(0))
    count = 0
    for sample in samples:
        for name, detail in inputs.items():
            interpreter.set_tensor(detail["index"], sample[name])
        interpreter.invoke()
        count += 1
        for name, index in indices.items():
            value = interpreter.get_tensor(index)
            sums[name] = sums[name] + value.reshape(-1, value.shape[-1]).mean(axis=0, dtype=np.float64)
    return {name: np.atleast_1d(total / max(count, 1)) for name, total in sums.items()}
