"""What a user names for profiling: a bundle, or a model that becomes one first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import bundle as bundles

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle

DEFAULT_TARGET, DEFAULT_PRECISION = "cpu:onnxruntime", "fp32"


def is_bundle(subject: str | Path) -> bool:
    """Whether it is a bundle's folder."""
    return (Path(subject) / bundles.MANIFEST).is_file()


def bundle_of(
    subject: str | Path, out: Path, *, target: str | None, precision: str | None, **options: Any
) -> Bundle:
    """The bundle, or a new one in `out` of one target and one precision, not measured here.

    Args:
        subject: A bundle's folder, or a model as `edgepack.export` takes it.
        out: Where a new bundle goes.
        target: `cpu:onnxruntime` unless named.
        precision: fp32 unless named: what is fastest here need not be so there.
        options: For `edgepack.export`.

    Raises:
        UsageError: A bundle has its precisions already.
        EdgepackError: The model cannot be exported.
    """
    from edgepack.toolchain.api import export
    from edgepack.toolchain.errors import UsageError

    if not is_bundle(subject):
        return export(
            subject,
            targets=target or DEFAULT_TARGET,
            precision=precision or DEFAULT_PRECISION,
            out=out,
            measure=False,
            **options,
        )
    if precision is not None:
        raise UsageError(
            "A bundle has the precisions that it was exported with",
            where=f"--precision {precision}",
            todo="Leave it out, or name the model instead of the bundle",
        )
    return bundles.load(Path(subject))
