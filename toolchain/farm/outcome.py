"""A farm's report as an exit code: 3 when something became worse, 4 when a device gave no figure."""

from __future__ import annotations

from edgepack.toolchain.errors import DeviceError, GateError
from edgepack.toolchain.farm.results import FarmReport

_SHOWN = 3


def raise_if_worse(report: FarmReport) -> None:
    """Raise unless the run is good.

    Raises:
        GateError: A figure is worse than the last good one, or there is none where there was one.
        DeviceError: A device gave no figure, and never had.
    """
    worse = [f"{one.bundle} on {one.device}: {one.why}" for one in report.worse]
    if worse:
        more = f" and {len(worse) - _SHOWN} more" if len(worse) > _SHOWN else ""
        raise GateError(
            f"Worse than in the last good run: {'; '.join(worse[:_SHOWN])}{more}",
            where=f"run {report.run}",
            todo="Find the change that did it; if it is meant to be so, run edgepack farm with --accept",
        )
    failed = [f"{one.bundle} on {one.device}" for one in report.failed]
    if failed:
        raise DeviceError(
            f"There is no figure of {', '.join(dict.fromkeys(failed))}",
            where=f"run {report.run}",
            todo="The report says why",
        )
