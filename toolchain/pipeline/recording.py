"""The few calls that travel with an artifact, so that `edgepack verify` can judge it anywhere."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import parity

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]

CASES_FILE = "cases.npz"
BOUNDS_FILE = "bounds.json"
_MAX_BYTES = 8 << 20
_MAX_CASES = 16
# A subset may lie below the gate's mean by chance, and another machine may round another way.
_SLACK = 0.002


def fitting(feeds: Sequence[Arrays], reference: Sequence[Arrays]) -> int:
    """How many calls travel: at least two, at most 16, at most 8 MiB."""
    total, count = 0, 0
    for feed, outputs in zip(feeds, reference, strict=True):
        total += sum(value.nbytes for value in (*feed.values(), *outputs.values()))
        if count >= _MAX_CASES or (total > _MAX_BYTES and count >= 2):  # noqa: PLR2004
            break
        count += 1
    return count


def write(
    folder: Path,
    feeds: Sequence[Arrays],
    reference: Sequence[Arrays],
    got: Sequence[Arrays],
    gate: Mapping[str, float],
) -> None:
    """Write the calls and the bounds that hold on them: the gate, or what the subset reached."""
    subset = parity.compare(reference, got, gate, also=("top1", "neighbours"))
    reached = {
        "cosine": subset.cosine,
        "min_cosine": subset.min_cosine,
        "top1": subset.top1_agreement,
        "neighbours": subset.neighbour_agreement,
        **subset.choices,
    }
    # Where a metric judged, there is no bound to hold the calls against but what they reached.
    bounds = dict(gate) if any(name in parity.MEASURES for name in gate) else {**gate, "cosine": 1.0}
    for name, value in reached.items():
        if name in bounds and value is not None:
            bounds[name] = min(bounds[name], value - _SLACK)
    if "max_abs_error" in bounds and not subset.passed:
        del bounds["max_abs_error"]
    write_calls(folder / CASES_FILE, list(zip(feeds, reference, strict=True)))
    (folder / BOUNDS_FILE).write_text(json.dumps(bounds))


def write_calls(path: Path, calls: Sequence[tuple[Arrays, Arrays]]) -> None:
    """Write inputs and reference outputs, call by call, as `read` reads them."""
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    for index, (feed, outputs) in enumerate(calls):
        arrays |= {f"{index}/in/{name}": value for name, value in feed.items()}
        arrays |= {f"{index}/out/{name}": value for name, value in outputs.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Inputs and reference outputs by name, call by call.

    Raises:
        OSError, ValueError, KeyError: It is not such a file.
    """
    try:
        return _read(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read(path: Path) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    import numpy as np

    feeds: list[dict[str, np.ndarray]] = []
    reference: list[dict[str, np.ndarray]] = []
    # numpy leaves a file that it cannot read open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, side, name = key.split("/", 2)
            # Of a model without inputs the calls are known by their outputs alone.
            while len(feeds) <= int(index):
                feeds.append({})
                reference.append({})
            (feeds if side == "in" else reference)[int(index)][name] = arrays[key]
    return feeds, reference


def first_row(value: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The first row of an input, repeated to a shape; a scalar is a row."""
    import numpy as np

    return np.asarray(np.resize(np.atleast_1d(value)[:1], shape), order="C")
