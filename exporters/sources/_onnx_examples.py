"""Example inputs beside a model: `test_data_set_0/input_0.pb`, `input_1.pb`, ... (and `output_0.pb`, ...).

This is the layout of ONNX's own test cases and of its model zoo: each file is one TensorProto, numbered in
the order of the graph's inputs, weights not counted. A model that comes with them is verified on them,
which says more than random numbers do. `more_like` makes further inputs from them: values drawn from the
example's own values keep identifiers in range and masks masks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.exporters.sources._onnx_tensors import check_held, tensor_bytes
from edgepack.toolchain.errors import SourceError

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import TensorSpec

_MOST_SETS = 3
_MOST_BYTES = 1 << 30
_FOLDER = re.compile(r"test_data_set_(\d{1,6})")
_FILE = re.compile(r"(input|output)_(\d{1,6})\.pb")

Example = tuple[str, "dict[str, np.ndarray]", "dict[str, np.ndarray]"]
"""Label, inputs by name, outputs by name (empty when none are there)."""


def example_files(path: Path) -> list[Path]:
    """The files of the first data sets beside the model at `path`, in a fixed order.

    Raises:
        SourceError: A link that leads out of the model's folder.
    """
    root = path.resolve().parent
    folders = sorted(
        (int(match[1]), entry)
        for entry in root.glob("test_data_set_*")
        if (match := _FOLDER.fullmatch(entry.name)) and entry.is_dir()
    )
    files = []
    for _, folder in folders[:_MOST_SETS]:
        numbered = [
            (match[1], int(match[2]), file)
            for file in folder.iterdir()
            if (match := _FILE.fullmatch(file.name))
        ]
        for _, _, file in sorted(numbered):
            if not file.resolve().is_relative_to(root) or not file.is_file():
                raise SourceError(
                    f"The example {folder.name}/{file.name} is no file of the model's folder",
                    where=str(path),
                    todo="Put the file itself there",
                )
            files.append(file)
    return files


def examples(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> list[Example]:
    """The example inputs (and outputs, where they are there) of the model at `path`.

    Args:
        path: The model's file.
        inputs: The graph's inputs that are no weights, in order.
        outputs: The graph's outputs, in order.

    Raises:
        SourceError: A file that is no tensor, or does not fit its input.
    """
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    left = _MOST_BYTES
    for file in example_files(path):
        left -= file.stat().st_size
        match = _FILE.fullmatch(file.name)
        if match is None:
            continue
        specs = inputs if match[1] == "input" else outputs
        sides = found.setdefault(file.parent.name, {"input": {}, "output": {}})
        if int(match[2]) >= len(specs):
            raise _unfit(file, f"the graph has only {len(specs)} {match[1]}s")
        if left < 0:
            raise _unfit(file, f"the examples have more than {_MOST_BYTES >> 20} MB together")
        spec = specs[int(match[2])]
        value = _read(file)
        if match[1] == "input" and not _fits(spec, value):
            raise _unfit(file, f"it holds {value.dtype}{list(value.shape)} and the input is {spec}")
        sides[match[1]][spec.name] = value
    for name, sides in found.items():
        missing = [spec.name for spec in inputs if spec.name not in sides["input"]]
        if missing:
            raise SourceError(
                f"{name} has no file for the input '{missing[0]}'",
                where=str(path),
                todo="Add it, or remove the folder: random inputs are made then",
            )
    return [(name.replace("_", " "), sides["input"], sides["output"]) for name, sides in found.items()]


def more_like(
    example: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray]:
    """Inputs of other sizes whose values are drawn, with replacement, from those of `example`.

    Args:
        example: Inputs by name.
        specs: The inputs.
        sizes: Sizes of the named dimensions.
        seed: The same seed gives the same values.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    made = {}
    for spec in specs:
        shape, values = spec.resolve(sizes), example[spec.name].reshape(-1)
        made[spec.name] = (
            values[rng.integers(0, values.size, shape)] if values.size else np.zeros(shape, values.dtype)
        )
    return made


def _read(file: Path) -> np.ndarray:
    import onnx
    from onnx import numpy_helper

    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
    except Exception as error:
        raise _unfit(file, "it is no whole TensorProto") from error
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise _unfit(file, "it refers to another file")
    size = tensor_bytes(tensor, str(file))
    check_held(tensor, size, str(file))
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:
        raise _unfit(file, f"it cannot be read: {type(error).__name__}: {str(error)[:100]}") from error


def _fits(spec: TensorSpec, value: np.ndarray) -> bool:
    return (
        value.dtype.name == spec.dtype
        and value.ndim == len(spec.shape)
        and all(
            isinstance(dim, str) or dim == size for dim, size in zip(spec.shape, value.shape, strict=True)
        )
    )


def _unfit(file: Path, why: str) -> SourceError:
    return SourceError(
        f"The example {file.parent.name}/{file.name} cannot be used: {why}",
        where=str(file.parent.parent),
        todo="Write it again, or remove the folder: random inputs are made then",
    )
