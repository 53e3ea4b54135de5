"""Several `.tflite` files made one: a subgraph and a signature for each, and every weight in it once.

A file holds tables that its subgraphs point into by number: buffers b and kinds of operators c. The one file's tables
are the unions of the parts' tables, equal entries once, and every number i of a part becomes the place of its entry,

    b'(i) = place of content(b_i),   c'(i) = place of (builtin code, custom code, version)(c_i).

Buffers are equal when their bytes are. An empty buffer is number 0, which stands for a tensor that is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain import tflite

_LARGEST = 2**31 - 2**24
"""Bytes of weights that one flatbuffer holds."""


def join(files: Mapping[str, Path], path: Path) -> int | None:
    """Write the parts' files as one.

    Args:
        files: By part, which is the name of its signature in the one file.
        path: The file to write.

    Returns:
        Bytes of weights that more than one part reads; None, and nothing is written, when they cannot be told apart by
        what they take and give, have subgraphs of their own, or are too large together.

    Raises:
        SourceError: A file is none.
    """
    if sum(file.stat().st_size for file in files.values()) >= _LARGEST:
        return None
    models = {part: tflite.read(file) for part, file in files.items()}
    notes = [tflite.read_note(file).get(tflite.CHANNELS_LAST, ()) for file in files.values()]
    if any(len(model.subgraphs) != 1 or len(model.signatureDefs or ()) != 1 for model in models.values()):
        return None
    faces = [_face(model) for model in models.values()]
    if any(face == other for index, face in enumerate(faces) for other in faces[:index]):
        return None
    last = {name for names in notes for name in names}
    for model, names in zip(models.values(), notes, strict=True):
        given = {_text(entry.name) for entry in model.signatureDefs[0].inputs}
        if last & given != set(names):  # the note goes by names, which mean two layouts here
            return None
    union = _Union(next(iter(models.values())))
    for part, model in models.items():
        union.add(part, model)
    tflite.set_note(union.model, {tflite.CHANNELS_LAST: sorted(last)})
    tflite.write(union.model, path)
    return union.shared


class _Union:
    """The one model, while parts are added."""

    def __init__(self, like: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.model = schema.ModelT()
        self.model.version, self.model.description = like.version, like.description
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.model.subgraphs, self.model.signatureDefs, self.model.metadata = [], [], []
        self.shared = 0
        self._buffers: dict[bytes, int] = {}
        self._codes: dict[tuple[Any, ...], int] = {}

    def add(self, part: str, model: Any) -> None:
        """Append a part's graph and signature."""
        own = self._buffers.copy()
        (graph,), (signature,) = model.subgraphs, model.signatureDefs
        for tensor in graph.tensors:
            tensor.buffer = self._buffer(model.buffers[tensor.buffer], own)
        for operator in graph.operators:
            operator.opcodeIndex = self._code(model.operatorCodes[operator.opcodeIndex])
        graph.name = part.encode()
        signature.signatureKey, signature.subgraphIndex = part.encode(), len(self.model.subgraphs)
        self.model.subgraphs.append(graph)
        self.model.signatureDefs.append(signature)

    def _buffer(self, buffer: Any, before: Mapping[bytes, int]) -> int:
        if buffer.data is None or not len(buffer.data):
            return 0
        key = hashlib.sha256(buffer.data).digest()
        if key not in self._buffers:
            self._buffers[key] = len(self.model.buffers)
            self.model.buffers.append(buffer)
        elif key in before:
            self.shared += len(buffer.data)
        return self._buffers[key]

    def _code(self, code: Any) -> int:
        key = (code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version)
        if key not in self._codes:
            self._codes[key] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        return self._codes[key]


def _face(model: Any) -> tuple[Any, ...]:
    """What a caller sees of a file: names and dimensions of inputs and outputs."""
    tensors, signature = model.subgraphs[0].tensors, model.signatureDefs[0]

    def side(entries: Any) -> frozenset[tuple[str, tuple[int, ...]]]:
        return frozenset(
            (_text(entry.name), tuple(int(n) for n in _dimensions(tensors[entry.tensorIndex])))
            for entry in entries
        )

    return side(signature.inputs), side(signature.outputs)


def _dimensions(tensor: Any) -> Any:
    """A tensor's dimensions, -1 for those that callers choose."""
    open_too = tensor.shapeSignature if tensor.shapeSignature is not None else ()
    return open_too if len(open_too) else tensor.shape if tensor.shape is not None else ()


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
