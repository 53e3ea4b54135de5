"""ncnn's own int8 and 16-bit weights, written into a network's files.

    ncnn-static     Convolution, ConvolutionDepthWise, InnerProduct: q_x = x s_x and q_w = w s_w in int8,
                    y = sum q_x q_w / (s_x s_w), s_x = 127 / t of the layer's input by calibration,
                    s_w = 127 / max|w| of each output channel
    ncnn-dynamic    Gemm: s_x of each row of x, found at every call, and one s_w for the matrix W [N, K]
    ncnn-float16    all layers' weights in float16, computed with in float32

All are symmetric: zero is zero. A convolution whose result only one other quantized convolution reads hands it over as
int8, in that one's scale. One scale is too coarse for the matrices of a transformer (MiniLM's cosine fell to 0.94), so
a Gemm's channels are levelled first, and what was done is undone behind it by two layers more:

    x W^T + b = (x (C W)^T) C^-1 + b,   C = diag(c),   c_n = max|W| / max|W_n|

ncnn carries no tool for this in its wheel; the forms are those that its layers load.
"""

from __future__ import annotations

import itertools
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from edgepack.quantize._calibrating import required
from edgepack.quantize._onnx_histogram import Histogram
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Options
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.vendors import ncnn
from edgepack.toolchain.vendors.ncnn_network import Layer, Network, Weight

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Lowered

STATIC = frozenset({"Convolution", "ConvolutionDepthWise", "InnerProduct"})
"""Layers that ncnn computes with int8 inputs of a scale that is known beforehand."""
_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthWise"})
_LARGEST = 127
_TERM = 8  # number of the parameter that says that a layer is int8 ("operators" of ncnn's wiki)
_HANDED_ON = 100  # added to a convolution's term: its result is int8 too
_STEPS = 80
_SMALLEST = 0.2


class StaticOptions(Options):
    """What static int8 can be told."""

    method: Literal["extremes", "mse"] = Field(
        "mse",
        description="how the largest number that is kept is found: of all, or of the least squared error",
    )


class NcnnQuantizer(Quantizer):
    """What the quantizers of ncnn's networks share: reading, counting, writing."""

    format = ncnn.FORMAT
    static = False

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.param`, `<part>.bin` and `<part>.json` into `folder`.

        Args:
            lowered: The network in floating point.
            precision: What it becomes.
            data: Real inputs for `ncnn-static`; not used by others.
            folder: Where to write.
            options: Fields of `options_type`.

        Raises:
            TargetError: No layer can be quantized, or the file holds a layer whose weights are unknown.
            UsageError: No calibration data.
        """
        where = f"part {lowered.part}"
        asked = self.options_type.of(options, precision, where)
        if self.static:
            required(data, precision, lowered.part)
        network = Network.read(lowered.path)
        changed, *notes = self._change(network, lowered, data, asked)
        if not changed:
            raise TargetError(
                f"Quantizing to {precision} changed no layer of the network",
                where=where,
                todo="Use --precision fp32, or another one of `edgepack targets`",
            )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / lowered.path.name
        network.write(path)
        shutil.copyfile(lowered.path.with_suffix(".json"), path.with_suffix(".json"))
        return lowered.quantized(path, precision, int(changed), *map(str, notes))

    @abstractmethod
    def _change(
        self, network: Network, lowered: Lowered, data: CalibrationData | None, asked: Any
    ) -> Sequence[int | str]:
        """Change the network; how many layers were, and what the report should say."""


@quantizers.register("ncnn-static")
class NcnnStatic(NcnnQuantizer):
    """int8 convolutions and inner products, with ranges from calibration data."""

    static = True
    options_type: ClassVar[type[Options]] = StaticOptions

    def _change(
        self, network: Network, lowered: Lowered, data: CalibrationData | None, asked: Any
    ) -> Sequence[int | str]:
        layers = [layer for layer in network if layer.kind in STATIC and layer.weights]
        inputs = sorted({layer.inputs[0] for layer in layers})
        seen = _observe(lowered, inputs, data or ())
        reach = {blob: _threshold(histogram, asked.method) for blob, histogram in seen.items()}
        scales = {layer.name: _scale(reach[layer.inputs[0]]) for layer in layers}
        handed = 0
        for layer in layers:
            readers = network.readers(layer.outputs[0])
            follower = readers[0] if len(readers) == 1 and readers[0].name in scales else None
            on = layer.kind in _CONVOLUTIONS and follower is not None and follower.kind in _CONVOLUTIONS
            handed += on
            _integers(layer, scales[layer.name], scales[follower.name] if on and follower else None)
        said = f"ranges by {asked.method} over {len(data.samples) if data else 0} samples; "
        return len(layers), said + f"{handed} of {len(layers)} int8 layers hand their results on as int8"


@quantizers.register("ncnn-dynamic")
class NcnnDynamic(NcnnQuantizer):
    """int8 matrix products whose inputs are quantized row by row at every call."""

    def _change(
        self, network: Network, lowered: Lowered, data: CalibrationData | None, asked: Any
    ) -> Sequence[int | str]:
        del lowered, data, asked
        made: list[Layer] = []
        for layer in network:
            made += _levelled(layer) if _is_product(layer) else [layer]
        changed = sum(map(_is_product, network))
        network.layers = made
        return (changed,)


@quantizers.register("ncnn-float16")
class NcnnFloat16(NcnnQuantizer):
    """All layers' weights, but biases and tables of norms, in float16."""

    def _change(
        self, network: Network, lowered: Lowered, data: CalibrationData | None, asked: Any
    ) -> Sequence[int | str]:
        import numpy as np

        del lowered, data, asked
        largest = float(np.finfo(np.float16).max)
        weights = [[weight for weight in layer.weights if weight.marked] for layer in network]
        for weight in itertools.chain(*weights):
            weight.values = np.clip(weight.values, -largest, largest).astype(np.float16)
        return (sum(map(bool, weights)),)


def _is_product(layer: Layer) -> bool:
    """Whether a layer is x W^T or x W^T + b with constants W and b [N], which is how pnnx writes it."""
    if layer.kind != "Gemm":
        return False
    form = [layer.number(key) for key in (4, 5, 2, 3, 11, 14)]
    plain = all(float(layer.params.get(key, 1)) == 1 for key in (0, 1))
    bias = not layer.number(6) or layer.number(10) in {-1, 4}
    return form == [0, 1, 0, 1, 0, 0] and plain and bias and len(layer.inputs) == 1


def _levelled(layer: Layer) -> list[Layer]:
    """An int8 Gemm with levelled channels, and the layers behind it that undo it and add the bias."""
    import numpy as np

    rows, out = layer.number(8), layer.outputs[0]
    matrix = layer.weights[0].values.reshape(rows, -1)
    furthest = np.abs(matrix).max(1)
    level = np.where(furthest > 0, furthest.max() / np.where(furthest > 0, furthest, 1), 1)
    scale = _scale(float(furthest.max()))
    product = Layer(layer.kind, layer.name, layer.inputs, (f"{out}_int8",), {**layer.params, 6: "0", 18: "2"})
    product.weights = [
        Weight(_rounded(matrix * (scale * level)[:, None]), marked=True),
        Weight(np.array([scale], np.float32), marked=False),
    ]
    chain = [product]
    undone = [("level", "2", (1 / level).astype(np.float32))]  # BinaryOp 2 multiplies, 0 adds
    undone += [("bias", "0", weight.values) for weight in layer.weights[1:]]
    for index, (what, operation, values) in enumerate(undone):
        constant = Layer("MemoryData", f"{layer.name}_{what}", (), (f"{out}_{what}",), {0: str(rows), 1: "1"})
        constant.weights = [Weight(values, marked=False)]
        before, last = chain[-1].outputs[0], index == len(undone) - 1
        after = out if last else f"{out}_{what}ed"
        name = f"{layer.name}_{what}_applied"
        chain += [constant, Layer("BinaryOp", name, (before, f"{out}_{what}"), (after,), {0: operation})]
    return chain


def _observe(
    lowered: Lowered, blobs: Sequence[str], data: CalibrationData | Sequence[Any]
) -> dict[str, Histogram]:
    """What ncnn computes for these blobs on the samples, in floating point."""
    histograms = {blob: Histogram() for blob in blobs}
    net, sides = ncnn.open_net(lowered.path, 1), ncnn.Blobs.of(lowered.path)
    for sample in data:
        made = ncnn.call(net, sides, sample, blobs)
        for blob, histogram in histograms.items():
            histogram.add(made[blob])
    return histograms


def _threshold(histogram: Histogram, method: str) -> float:
    """The largest number that int8 keeps."""
    import numpy as np

    furthest = max(-histogram.low, histogram.high, 0.0)
    if method == "extremes" or not furthest:
        return furthest
    x, counts = histogram.centers, histogram.counts
    x, counts = x[counts > 0], counts[counts > 0]
    tried = np.linspace(furthest * _SMALLEST, furthest, _STEPS)
    steps = tried[:, None] / _LARGEST
    kept = np.clip(np.rint(x / steps), -_LARGEST, _LARGEST) * steps
    return float(tried[((x - kept) ** 2 @ counts).argmin()])


def _integers(layer: Layer, scale: float, handed_on: float | None) -> None:
    """Make a layer's weights int8 and add its scales; `handed_on` is that of the one reader of its result."""
    import numpy as np

    channels = layer.number(7, 1) if layer.kind == "ConvolutionDepthWise" else layer.number(0)
    rows = layer.weights[0].values.reshape(channels, -1)
    scales = np.array([_scale(float(np.abs(row).max())) for row in rows], np.float32)
    layer.weights[0].values = _rounded(rows * scales[:, None])
    layer.weights.append(Weight(scales, marked=False))
    layer.weights.append(Weight(np.array([scale], np.float32), marked=False))
    if handed_on is not None:
        layer.weights.append(Weight(np.array([handed_on], np.float32), marked=False))
    layer.params[_TERM] = str(1 + (0 if handed_on is None else _HANDED_ON))


def _scale(furthest: float) -> float:
    return _LARGEST / furthest if furthest > 0 else 1.0


def _rounded(values: np.ndarray) -> np.ndarray:
    import numpy as np

    made: np.ndarray = np.clip(np.rint(values), -_LARGEST, _LARGEST).astype(np.int8)
    return made
