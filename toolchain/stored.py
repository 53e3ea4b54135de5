"""Recorded calls on disk: arrays in an .npz file, read when the first of them is asked for.

A record k has its inputs under "k/in/<name>" and its outputs under "k/out/<name>". What a state begins with lies in the
same file under "initial/<name>".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]
T = TypeVar("T")
_INITIAL = "initial/"


class Stored(Sequence[T]):
    """Records that `side` gave the keys of.

    Args:
        path: The .npz file.
        labels: One for every record.
        record: Makes one of its label, inputs and outputs.
    """

    def __init__(self, path: Path, labels: Sequence[str], record: Callable[[str, Arrays, Arrays], T]) -> None:
        self._path = path
        self._labels = tuple(labels)
        self._record = record

    @cached_property
    def _records(self) -> list[T]:
        import numpy as np

        sides: dict[tuple[int, str], Arrays] = {}
        with np.load(self._path, allow_pickle=False) as arrays:
            for key in arrays.files:
                if not key.startswith(_INITIAL):
                    index, which, name = key.split("/", 2)
                    sides.setdefault((int(index), which), {})[name] = arrays[key]
        return [
            self._record(label, sides.get((i, "in"), {}), sides.get((i, "out"), {}))
            for i, label in enumerate(self._labels)
        ]

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._records[index]


def side(index: int, which: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """A record's inputs ("in") or outputs ("out") under their keys in the file."""
    return {f"{index}/{which}/{name}": value for name, value in arrays.items()}


def initial(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """What states begin with, under its keys in the file."""
    return {f"{_INITIAL}{name}": value for name, value in arrays.items()}


def read_initial(path: Path) -> Arrays:
    """What states begin with, by name."""
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return {key.removeprefix(_INITIAL): arrays[key] for key in arrays.files if key.startswith(_INITIAL)}
