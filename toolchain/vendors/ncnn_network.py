"""ncnn's two files read and written: the layers of a `.param` file, and the weights of each from the `.bin` file.

The `.param` file is text: a mark, the numbers of layers and blobs, and a line a layer,

    kind name inputs outputs [names of input blobs] [names of output blobs] id=value ...

where -23300 - id stands for a parameter that is a list. The `.bin` file holds the layers' weights in their order and
nothing else: which ones a layer reads follows from its kind and parameters. A weight is either plain float32 ("raw"),
or has a mark of four bytes before it that says its type ("marked"), and is padded to a multiple of four bytes. The
kinds here are those that pnnx and edgepack write; a file that holds more than they account for is refused.

Sources: ncnn's wiki, "param and model file structure" and "operators"; `ncnn::ModelBin` and the layers' `load_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import numpy as np

_LIST = -23300
_MARKS = {"float32": 0, "float16": 0x01306B47, "int8": 0x000D4B38}
"""What stands before a marked weight, as a little-endian integer of four bytes."""
_ALIGNED = 4


@dataclass
class Weight:
    """One array of a layer: float32, float16 or int8, of one dimension; whether its type stands before it."""

    values: np.ndarray
    marked: bool


@dataclass
class Layer:
    """One line of a `.param` file, with the layer's weights in the order in which it reads them.

    Attributes:
        kind: "Convolution", "Gemm", ...
        name: Its own.
        inputs: Names of blobs.
        outputs: The same.
        params: Values as they are written, by number.
        weights: As of `Network.read`; empty until then.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[int, str]
    weights: list[Weight] = field(default_factory=list)

    def number(self, key: int, default: int = 0) -> int:
        """A parameter that is an integer."""
        return int(self.params.get(key, default))

    def line(self) -> str:
        """As it stands in the file."""
        sides = (str(len(self.inputs)), str(len(self.outputs)), *self.inputs, *self.outputs)
        return " ".join((self.kind, self.name, *sides, *(f"{k}={v}" for k, v in self.params.items())))


Plan = Sequence[tuple[int, bool]]
"""Elements of each weight, and whether it is marked."""


def _convolution(layer: Layer) -> Plan:
    if layer.number(19):  # its weights are an input
        return ()
    return [(layer.number(6), True), *[(layer.number(0), False)] * layer.number(5)]


def _transposed(layer: Layer) -> Plan:
    return (
        () if layer.number(28) else [(layer.number(6), True), *[(layer.number(0), False)] * layer.number(5)]
    )


def _gemm(layer: Layer) -> Plan:
    m, n, k = (layer.number(key) for key in (7, 8, 9))
    plan = [(k * m, True)] * layer.number(4) + [(n * k, True)] * layer.number(5)
    shape = layer.number(10)
    bias = {0: 1, 1: m, 2: m, 3: n * m, 4: n}
    return [*plan, *([(bias[shape], True)] if layer.number(6) and shape in bias else [])]


def _constant(layer: Layer) -> Plan:
    size = 1
    for key in (0, 1, 11, 2):
        size *= layer.number(key) or 1
    return [(size, not layer.number(21, 1))]


def _none(layer: Layer) -> Plan:
    del layer
    return ()


_PLANS: dict[str, Callable[[Layer], Plan]] = {
    **dict.fromkeys(
        ("Convolution", "ConvolutionDepthWise", "Convolution1D", "ConvolutionDepthWise1D"), _convolution
    ),
    **dict.fromkeys(("Convolution3D", "ConvolutionDepthWise3D"), _convolution),
    **dict.fromkeys(
        ("Deconvolution", "DeconvolutionDepthWise", "Deconvolution1D", "DeconvolutionDepthWise1D"),
        _transposed,
    ),
    "InnerProduct": lambda layer: [
        (layer.number(2), True),
        *[(layer.number(0), False)] * layer.number(1),
    ],
    "Embed": lambda layer: [(layer.number(3), True), *[(layer.number(0), False)] * layer.number(2)],
    "Gemm": _gemm,
    "MemoryData": _constant,
    "LayerNorm": lambda layer: [(layer.number(0), False)] * 2 * layer.number(2, 1),
    "RMSNorm": lambda layer: [(layer.number(0), False)] * layer.number(2, 1),
    "GroupNorm": lambda layer: [(layer.number(1), False)] * 2 * layer.number(3, 1),
    "InstanceNorm": lambda layer: [(layer.number(0), False)] * 2 * layer.number(2, 1),
    "BatchNorm": lambda layer: [(layer.number(0), False)] * 4,
    "Scale": lambda layer: (
        [(layer.number(0), False)] * (1 + layer.number(1)) if layer.number(0) > _LIST else []
    ),
    "Bias": lambda layer: [(layer.number(0), False)],
    "PReLU": lambda layer: [(layer.number(0), False)],
    "Normalize": lambda layer: [(layer.number(3), False)],
}


@dataclass
class Network:
    """Layers in the order of the file, with their weights."""

    layers: list[Layer]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def readers(self, blob: str) -> list[Layer]:
        """The layers that take a blob."""
        return [layer for layer in self.layers if blob in layer.inputs]

    @staticmethod
    def read(path: Path) -> Network:
        """Layers and weights of a network in floating point.

        Args:
            path: The `.param` file; the `.bin` beside it is mapped and not read.

        Raises:
            TargetError: The weights of a layer are unknown, or are not float32.
        """
        import numpy as np

        layers = read_layers(path)
        file = path.with_suffix(".bin")
        size = file.stat().st_size
        data = np.memmap(file, np.float32, "r", shape=(size // 4,)) if size else np.zeros(0, np.float32)
        place = 0
        for layer in layers:
            for count, marked in _PLANS.get(layer.kind, _none)(layer):
                if marked and data[place : place + 1].view(np.uint32).tolist() != [_MARKS["float32"]]:
                    raise _unknown(path, f"the layer {layer.name} has weights that are not float32")
                place += marked
                layer.weights.append(Weight(data[place : place + count], marked))
                place += count
        if place != len(data) or size % 4:
            kinds = ", ".join(sorted({layer.kind for layer in layers} - _PLANS.keys()))
            raise _unknown(
                path, f"its weights take {size} bytes, and {4 * place} are accounted for ({kinds})"
            )
        return Network(layers)

    def write(self, path: Path) -> None:
        """Write both files; `path` is the `.param` file."""
        import numpy as np

        blobs = {blob for layer in self for blob in (*layer.inputs, *layer.outputs)}
        lines = ["7767517", f"{len(self.layers)} {len(blobs)}", *(layer.line() for layer in self)]
        path.write_text("\n".join(lines) + "\n")
        with path.with_suffix(".bin").open("wb") as file:
            for layer in self:
                for weight in layer.weights:
                    values = np.ascontiguousarray(weight.values).ravel()
                    if weight.marked:
                        file.write(_MARKS[values.dtype.name].to_bytes(4, "little"))
                    file.write(values.data)
                    file.write(bytes(-values.nbytes % _ALIGNED))


def read_layers(path: Path) -> list[Layer]:
    """The layers of a `.param` file, without weights.

    The file's first line is a mark, the second counts layers and blobs, and every other is a layer.
    """
    layers = []
    for line in path.read_text().splitlines()[2:]:
        words = line.split()
        if not words:
            continue
        kind, name, before, after = *words[:2], int(words[2]), int(words[3])
        blobs, rest = words[4 : 4 + before + after], words[4 + before + after :]
        pairs = (word.split("=", 1) for word in rest if "=" in word)
        params = {int(key): value for key, value in pairs if key.lstrip("-").isdigit()}
        layers.append(Layer(kind, name, tuple(blobs[:before]), tuple(blobs[before:]), params))
    return layers


def _unknown(path: Path, why: str) -> TargetError:
    return TargetError(
        f"This network of ncnn cannot be quantized: {why}", where=str(path), todo="Use --precision fp32"
    )
