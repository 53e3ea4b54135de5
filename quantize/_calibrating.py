"""What static quantizers ask of calibration data: that it is there, and that a sample is one of the model's inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    from edgepack.quantize.base import CalibrationData, Feeds
    from edgepack.toolchain.program import Signature, TensorSpec


def required(data: CalibrationData | None, precision: str, part: str) -> CalibrationData:
    """The data, which has samples.

    Raises:
        UsageError: There is none.
    """
    if data is None or not data.samples:
        raise UsageError(
            f"{precision} needs calibration data, and there is none",
            where=f"part {part}",
            todo="Give some with --calibration data.npz, a folder, or python:factory",
        )
    return data


def lacking(sample: Feeds, signature: Signature) -> TensorSpec | None:
    """The first input that a sample does not have, or has in another size than the signature's where that is fixed."""
    return next(
        (
            spec
            for spec in signature.inputs
            if spec.name not in sample or not _fits(sample[spec.name].shape, spec)
        ),
        None,
    )


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        isinstance(dim, str) or have == dim for have, dim in zip(shape, spec.shape, strict=True)
    )


def store(sample: Feeds, signature: Signature, folder: Path, index: int) -> None:
    """Write a sample's inputs into a file of their own, for a worker that reads the files in order."""
    import numpy as np

    arrays = {spec.name: sample[spec.name] for spec in signature.inputs}
    np.savez(folder / f"{index:06d}.npz", **arrays)  # type: ignore[arg-type]
