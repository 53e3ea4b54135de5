"""The weight files of a Hugging Face folder, checked by their headers before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from edgepack.toolchain.errors import SourceError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MAX_HEADER = 100_000_000  # the format's own limit
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def weight_files(folder: Path, *, trust_pickle: bool) -> list[Path]:
    """The folder's safetensors files, each with a sound header and its full length.

    Returns:
        Paths in order; empty when the folder has a pickle only and it is trusted.

    Raises:
        SourceError: Weights are missing, truncated, outside the folder, or a pickle.
    """
    if (folder / SINGLE).exists():
        names = [SINGLE]
    elif (folder / INDEX).exists():
        names = _indexed(folder)
    elif any((folder / name).exists() for name in PICKLES):
        if trust_pickle:
            return []
        raise SourceError(
            "The folder holds its weights as a pickle, which can run any code when it is read",
            where=str(folder),
            todo="Convert it to safetensors, or pass --trust-pickle if you trust where it came from",
        )
    else:
        raise SourceError(
            "The folder holds no weights",
            where=str(folder),
            todo=f"Put {SINGLE} (or {INDEX} and its shards) there",
        )
    files = []
    for name in names:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) and not path.is_symlink():
            raise SourceError(
                f"The weight file '{name}' points outside the model's folder", where=str(folder)
            )
        if not path.is_file():
            raise SourceError(f"The weight file {name} is missing", where=str(folder), todo="Copy it there")
        check_header(path)
        files.append(path)
    return files


def check_header(path: Path) -> None:
    """Raise SourceError unless `path` is a whole safetensors file.

    The format: 8 bytes little-endian header length, a JSON object of that length with "data_offsets"
    [begin, end) for every tensor, then the data without holes (huggingface/safetensors, README).
    Checked here rather than by the library, whose Python interface wants numpy or torch for it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER):  # noqa: PLR2004 - see the format
                raise ValueError(f"its header would be {length} bytes long, the file has {size}")
            header = json.loads(file.read(length))
        spans = sorted(
            tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__"
        )
        end = 0
        for begin, stop in spans:
            if begin != end or stop < begin:
                raise ValueError(f"its tensors do not follow one another at byte {begin}")
            end = stop
        if end != size - 8 - length:
            raise ValueError(f"its tensors need {end} bytes, the file has {size - 8 - length} for them")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path.name} is not a whole safetensors file: {error}",
            where=str(path),
            todo="Copy or download it again",
        ) from error


def _indexed(folder: Path) -> list[str]:
    path = folder / INDEX
    try:
        weight_map = json.loads(path.read_text())["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f"{INDEX} cannot be read: {error!r}", where=str(path)) from error
    for name in names:
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise SourceError(f"{INDEX} names the file '{name}' outside the model's folder", where=str(path))
    return names
