"""What the native runner leaves: outputs in a binary file, and the device's files, which become a tree again."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import DeviceError

if TYPE_CHECKING:
    import numpy as np

_MOST_DIMENSIONS = 64


def outputs(content: bytes, calls: Sequence[Sequence[str]]) -> list[dict[str, np.ndarray]]:
    """Outputs by name, call by call.

    Args:
        content: Of a file `outputs-N.bin` (see `src/main.cpp`).
        calls: The names of every call's outputs.

    Raises:
        DeviceError: It is not such a file.
    """
    import numpy as np
    from onnx.helper import tensor_dtype_to_np_dtype

    found: list[dict[str, np.ndarray]] = []
    at = 0
    try:
        for names in calls:
            got = {}
            for name in names:
                kind, rank = struct.unpack_from("<2I", content, at)
                if rank > _MOST_DIMENSIONS:
                    raise DeviceError("The device's outputs cannot be read: a tensor has too many dimensions")
                shape = struct.unpack_from(f"<{rank}q", content, at + 8)
                dtype = np.dtype(tensor_dtype_to_np_dtype(kind))
                at += 8 + 8 * rank
                count = int(np.prod(shape, dtype=np.int64))
                got[name] = np.frombuffer(content, dtype, count, at).reshape(shape)
                at += count * dtype.itemsize
            found.append(got)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"The device's outputs cannot be read: {error}") from error
    if at != len(content):
        raise DeviceError("The device's outputs cannot be read: there is more than was asked for")
    return found


def plant(files: Mapping[str, str | None], root: Path) -> Path:
    """Write the files that a device showed below `root`, so that what reads a device's tree reads them.

    Raises:
        DeviceError: A name leads out of the tree.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise DeviceError(f"The device names a file outside of its tree: {name!r}")
        place = root / path
        if text is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        # The runner writes bytes as code points of Latin-1.
        place.write_bytes(text.encode("latin-1", "replace"))
    return root
