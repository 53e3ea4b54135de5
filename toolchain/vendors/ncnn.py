"""What target, quantizer, worker and session of ncnn share: its settings, and the way between arrays and its blobs.

An ncnn network has no names of its own for inputs and outputs ("in0", "out0", ...), and its tensors may lie without the
axis of the batch. The file `<part>.json` beside `<part>.param` and `<part>.bin` says which is which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import SourceError, ToolchainMissingError
from edgepack.toolchain.narrowing import narrowed

if TYPE_CHECKING:
    import numpy as np

DISTRIBUTION = "ncnn"
CONVERTER = "pnnx"
INSTALL = "pip install 'edgepack[ncnn]'"
FORMAT = "ncnn"
"""Of a lowered part: a `.param` file with its `.bin` and `.json` beside it."""
WHOLE = 233
"""ncnn's own mark of a tensor that keeps all its axes."""
FLOAT32 = {
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_storage": False,
    "use_bf16_packed": False,
    "use_vulkan_compute": False,
}
"""Options of `ncnn::Net` under which whatever was not quantized is computed in float32, on a CPU."""
_DTYPES = {name: name for name in ("float32", "int32")}


@dataclass(frozen=True)
class Blob:
    """One input or output.

    Attributes:
        name: In the network.
        batch: The axis of the batch that its tensor lacks, or `WHOLE`.
        dtype: What the network takes: "float32" or "int32". A mask of integers may be a float32 there.
        twin: Name of a second input of the network that takes the same numbers, as float32.
    """

    name: str
    batch: int
    dtype: str = "float32"
    twin: str | None = None


@dataclass(frozen=True)
class Blobs:
    """A network's inputs and outputs by the signature's names, in order.

    Attributes:
        inputs: Those that it reads.
        outputs: All.
        multiplications: Of one call, with constant weights: in convolutions, and in matrix products.
    """

    inputs: Mapping[str, Blob]
    outputs: Mapping[str, Blob]
    multiplications: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `of`, with the options that the network is to be run with."""

        def plain(blobs: Mapping[str, Blob]) -> dict[str, Any]:
            return {
                name: {"blob": blob.name, "batch": blob.batch, "dtype": blob.dtype}
                | ({} if blob.twin is None else {"twin": blob.twin})
                for name, blob in blobs.items()
            }

        return {
            "inputs": plain(self.inputs),
            "outputs": plain(self.outputs),
            "options": FLOAT32,
            "multiplications": self.multiplications,
        }

    @staticmethod
    def of(path: Path) -> Blobs:
        """Those of a network's file.

        Args:
            path: The `.param` file; the `.json` beside it is read.

        Raises:
            SourceError: It is not there, or says something else.
        """
        file = path.with_suffix(".json")
        try:
            data = json.loads(file.read_text())
            inputs, outputs = (
                {
                    name: Blob(str(one["blob"]), int(one["batch"]), _DTYPES[one["dtype"]], one.get("twin"))
                    for name, one in data[side].items()
                }
                for side in ("inputs", "outputs")
            )
            convolutions, products = map(int, data["multiplications"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"What the network's inputs and outputs are called cannot be read: {error}",
                where=str(file),
                todo="Keep the three files of a part together, or export the model again",
            ) from error
        return Blobs(inputs, outputs, (convolutions, products))


def import_ncnn() -> Any:
    """The Python module of ncnn.

    Raises:
        ToolchainMissingError: It is not installed, or does not load.
    """
    try:
        import ncnn
    except ImportError as error:
        raise ToolchainMissingError(f"ncnn cannot be imported: {error}", todo=f"Run: {INSTALL}") from error
    return ncnn


def open_net(path: Path, threads: int) -> Any:
    """The network of a `.param` file and the `.bin` beside it.

    Raises:
        SourceError: ncnn does not load it.
        ToolchainMissingError: ncnn is not installed.
    """
    weights = path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():
            raise SourceError(
                f"The model file {file.name} does not exist",
                where=str(file),
                todo="Keep the three files of a part together",
            )
    net = import_ncnn().Net()
    for name, value in FLOAT32.items():
        setattr(net.opt, name, value)
    net.opt.num_threads = threads
    if net.load_param(str(path)) != 0 or net.load_model(str(weights)) != 0:
        raise SourceError(
            f"ncnn cannot load {path.name}",
            where=str(path),
            todo="Check that the files arrived whole; if they did, export the model again",
        )
    return net


def call(
    net: Any, blobs: Blobs, inputs: Mapping[str, np.ndarray], inner: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """One call of a network.

    Args:
        net: As of `open_net`.
        blobs: Of the same file.
        inputs: By the signature's names, of any dtype; those that the network lacks are left out.
        inner: Names of blobs between its layers that are wanted too, as they lie.

    Returns:
        Copies of its outputs, by the signature's names, and of the blobs `inner`, by theirs.

    Raises:
        SourceError: It failed.
        UsageError: An input holds an integer that the network's type has not.
    """
    mat = import_ncnn().Mat
    made = {}
    with net.create_extractor() as extractor:
        extractor.set_light_mode(not inner)  # in which a blob is gone once it was read
        for name, blob in blobs.inputs.items():
            for blob_name, dtype in ((blob.name, blob.dtype), (blob.twin, "float32")):
                if blob_name is not None:
                    given = narrowed(inputs[name], dtype, name, "ncnn")
                    extractor.input(blob_name, mat(given, batch_index=blob.batch).clone())
        wanted = {name: (blob.name, blob.batch) for name, blob in blobs.outputs.items()}
        for name, (blob_name, batch) in {**wanted, **{name: (name, WHOLE) for name in inner}}.items():
            code, tensor = extractor.extract(blob_name)
            if code != 0:
                raise SourceError(f"ncnn failed with code {code} on the output '{name}'")
            made[name] = tensor.numpy(batch_index=batch).copy()
    return made
