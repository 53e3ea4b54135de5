"""Calibration samples on disk: written once as they come, read one at a time.

A quantizer goes through its samples several times, and a generator gives them once; thousands of them
do not fit into memory. They lie in one file of raw arrays, in order, that is removed with the object.
"""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize.base import Feeds


@dataclass(frozen=True)
class _Place:
    """Where one array lies, and what it is."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class SampleFile:
    """A growing file of samples.

    Args:
        feeds: Samples to begin with.
    """

    def __init__(self, feeds: Iterable[Feeds] = ()) -> None:
        self._file = tempfile.TemporaryFile(prefix="edgepack-samples-")  # noqa: SIM115 - lives as long as this
        weakref.finalize(self, self._file.close)
        self._index: list[list[_Place]] = []
        for feed in feeds:
            self.append(feed)

    def __len__(self) -> int:
        return len(self._index)

    def append(self, feed: Feeds) -> None:
        """Write one sample."""
        import numpy as np

        places = []
        self._file.seek(0, 2)
        for name, array in feed.items():
            data = np.asarray(array, order="C")  # ascontiguousarray would make a scalar a vector
            places.append(_Place(name, data.dtype, data.shape, self._file.tell(), data.nbytes))
            self._file.write(data.tobytes())
        self._index.append(places)

    def read(self, index: int) -> dict[str, np.ndarray]:
        """One sample; an IndexError beyond the last."""
        import numpy as np

        made = {}
        for place in self._index[index]:
            self._file.seek(place.offset)
            made[place.name] = np.frombuffer(self._file.read(place.nbytes), place.dtype).reshape(place.shape)
        return made


class Samples(Sequence["Feeds"]):
    """A run of samples of a file, each changed by a function when it is read.

    Args:
        file: Where they are.
        places: Which of them, in order.
        change: Applied to each sample (cutting and padding to a static shape).
    """

    def __init__(
        self, file: SampleFile, places: Sequence[int], change: Callable[[Feeds], Feeds] | None = None
    ) -> None:
        self._file = file
        self._places = places
        self._change = change

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Feeds: ...

    @overload
    def __getitem__(self, index: slice) -> Samples: ...

    def __getitem__(self, index: int | slice) -> Feeds | Samples:
        if isinstance(index, slice):
            return Samples(self._file, self._places[index], self._change)
        feed = self._file.read(self._places[index])
        return feed if self._change is None else self._change(feed)

    def changed(self, change: Callable[[Feeds], Feeds]) -> Samples:
        """The same samples, changed once more when they are read."""
        first = self._change
        return Samples(
            self._file, self._places, change if first is None else lambda feed: change(first(feed))
        )


def fingerprint(feeds: Iterable[Feeds]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for feed in feeds:
        for name, array in feed.items():
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
