"""Which operator domains a model file imports, read without reading its weights.

An ONNX file is one protocol-buffer message, ModelProto: a row of fields, each a tag (number and wire
type) followed by a number or by a length and that many bytes. Field 8, `opset_import`, holds an
OperatorSetIdProto whose field 1 is the domain. Everything else, the graph with its weights first of
all, is skipped by its length.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

_OPSET_IMPORT, _DOMAIN = 8, 1
_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_LONGEST = 10  # bytes of a number of 64 bits


def imported_domains(model: Path | bytes) -> set[str]:
    """Domains of `opset_import`; what is no message of fields imports nothing, or no more than was read."""
    with io.BytesIO(model) if isinstance(model, bytes) else model.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        domains: set[str] = set()
        for number, content in _fields(stream, size, {_OPSET_IMPORT}):
            if number == _OPSET_IMPORT:
                inner = _fields(io.BytesIO(content), len(content), {_DOMAIN})
                domains.update(value.decode(errors="replace") for field, value in inner if field == _DOMAIN)
        return domains


def _fields(stream: BinaryIO, size: int, wanted: set[int]) -> list[tuple[int, bytes]]:
    """The wanted fields that hold bytes; stops at the first thing that is no field."""
    found = []
    while (tag := _number(stream)) is not None:
        number, kind = tag >> 3, tag & 7
        if kind == _NUMBER:
            if _number(stream) is None:
                break
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            stream.seek(8 if kind == _EIGHT_BYTES else 4, os.SEEK_CUR)
        elif kind == _BYTES:
            length = _number(stream)
            if length is None or stream.tell() + length > size:
                break
            if number in wanted:
                found.append((number, stream.read(length)))
            else:
                stream.seek(length, os.SEEK_CUR)
        else:
            break
    return found


def _number(stream: BinaryIO) -> int | None:
    """A number in groups of seven bits, the lowest first; None at the end of the file."""
    value = 0
    for place in range(_LONGEST):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value
    return None
