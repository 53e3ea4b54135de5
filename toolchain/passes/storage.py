"""Writing a model: the graph in one file, its weights beside it, each byte copied at most once.

Weights that already lie in the folder stay where they are. All others are streamed, one at a time,
into one data file beside the graph. Data files are never hard links: onnx and onnx_ir refuse to read
external data that has more than one link, as it may be an attack.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import scopes, substituted
from edgepack.toolchain.passes.weights import array, external_path, is_large, raw_chunks, same_place

if TYPE_CHECKING:
    import onnx_ir as ir

_PAGE = 4096
_LINE = 64


def save(model: ir.Model, folder: Path, name: str, *, reuse: bool = True) -> Path:
    """Write `model` as `<name>.onnx` into `folder`, which is made if need be.

    Initializers of at most `SMALL_BYTES` and strings go into the graph file. Larger ones stay in the
    data files they are in when those lie in `folder` (or below it), else they are written to
    `<name>.onnx.data` (`<name>.onnx.1.data`, ... if the model still reads from a file of that name).
    The model is not changed and goes on reading from where it did. Files are written under a temporary
    name and renamed; data files that the new graph does not refer to are not deleted.

    Args:
        model: The graph.
        folder: Where to write.
        name: File name without ".onnx".
        reuse: False writes all large weights into one new file even if they lie in the folder, which
            leaves behind what the graph no longer needs.

    Returns:
        Path of the graph file.

    Raises:
        SourceError: A weight cannot be read.
        OSError: The folder cannot be written to.
    """
    return save_all({name: model}, folder, f"{name}.onnx", reuse=reuse)[name]


def save_all(
    models: Mapping[str, ir.Model], folder: Path, data: str, *, reuse: bool = True
) -> dict[str, Path]:
    """Write several models as `save` does, with one data file for all: `<data>.data`.

    Weights of equal content are stored once, whichever models they are in.

    Args:
        models: Graphs by file name without ".onnx".
        folder: Where to write.
        data: File name of the data file without ".data".
        reuse: As for `save`.

    Returns:
        Path of every graph file.

    Raises:
        SourceError: A weight cannot be read.
        OSError: The folder cannot be written to.
    """
    import onnx_ir as ir

    folder.mkdir(parents=True, exist_ok=True)
    root = Path(os.path.realpath(folder))
    stored: dict[ir.Value, ir.TensorProtocol] = {}
    streamed: list[tuple[ir.Value, ir.TensorProtocol]] = []
    taken: set[Path] = set()
    for model in models.values():
        _hold_attributes(model)
        for value, tensor in _initializers(model):
            if isinstance(tensor, ir.ExternalTensor):
                path = external_path(tensor)
                taken.add(path)
                if not is_large(tensor):
                    stored[value] = ir.Tensor(array(tensor), dtype=tensor.dtype, name=value.name)
                elif reuse and path.is_relative_to(root) and path.stat().st_nlink == 1:
                    stored[value] = _reference(
                        path.relative_to(root).as_posix(), tensor.offset or 0, tensor, value
                    )
                else:
                    streamed.append((value, tensor))
            elif is_large(tensor):
                streamed.append((value, tensor))
    if streamed:
        location = _free_name(root, data, taken)
        stored |= _stream(streamed, root, location, by_content=len(models) > 1)
    paths = {}
    with substituted(stored):
        for name, model in models.items():
            proto = ir.serde.serialize_model(model)
            _replace(root / f"{name}.onnx", proto.SerializeToString())
            paths[name] = folder / f"{name}.onnx"
    return paths


def data_files(model: ir.Model) -> list[Path]:
    """The external data files that the model's initializers lie in, links resolved, in order of first use."""
    import onnx_ir as ir

    return list(
        dict.fromkeys(
            external_path(tensor)
            for _, tensor in _initializers(model)
            if isinstance(tensor, ir.ExternalTensor)
        )
    )


def _hold_attributes(model: ir.Model) -> None:
    """Read tensors that are attributes and lie outside the file: their location would not hold elsewhere."""
    import onnx_ir as ir

    for graph, _ in scopes(model):
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if attribute.type is ir.AttributeType.TENSOR and isinstance(
                    attribute.value, ir.ExternalTensor
                ):
                    tensor = attribute.value
                    held = ir.Tensor(array(tensor), dtype=tensor.dtype, name=tensor.name)
                    node.attributes[name] = ir.AttrTensor(name, held)


def _initializers(model: ir.Model) -> list[tuple[ir.Value, ir.TensorProtocol]]:
    return [
        (value, value.const_value)
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    ]


def _free_name(root: Path, name: str, taken: set[Path]) -> str:
    candidate, number = f"{name}.data", 0
    while root / candidate in taken:
        number += 1
        candidate = f"{name}.{number}.data"
    return candidate


def _stream(
    weights: list[tuple[ir.Value, ir.TensorProtocol]], root: Path, location: str, *, by_content: bool
) -> dict[ir.Value, ir.TensorProtocol]:
    """Write the weights one after the other; those that are the same bytes are written once.

    The same bytes are those of one place in a file or in memory and, `by_content`, those of one SHA-256:
    it is taken while a weight is written, and what proves to be there already is cut off again.
    """
    written: dict[tuple[object, ...], int] = {}
    contents: dict[tuple[bytes, int], int] = {}
    references: dict[ir.Value, ir.TensorProtocol] = {}
    temporary = root / f".{location}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            for value, tensor in weights:
                place = same_place(tensor)
                if place not in written:
                    step = _PAGE if tensor.nbytes >= _PAGE else _LINE
                    file.seek(-file.tell() % step, os.SEEK_CUR)
                    start = written[place] = file.tell()
                    digest = hashlib.sha256()
                    for chunk in raw_chunks(tensor):
                        file.write(chunk)
                        if by_content:
                            digest.update(chunk)
                    if by_content:
                        known = contents.setdefault((digest.digest(), tensor.nbytes), start)
                        if known != start:
                            written[place] = known
                            file.seek(start)
                            file.truncate()
                references[value] = _reference(location, written[place], tensor, value)
        temporary.replace(root / location)
    finally:
        temporary.unlink(missing_ok=True)
    return references


def _reference(location: str, offset: int, tensor: ir.TensorProtocol, value: ir.Value) -> ir.ExternalTensor:
    import onnx_ir as ir

    return ir.ExternalTensor(
        location,
        offset,
        tensor.nbytes,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=value.name or "",
        doc_string=tensor.doc_string,
    )


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
