"""A device with its clocks fixed while it is measured, as far as it allows; everything is put back afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgepack.runtime.devices.base import LONG_S
from edgepack.runtime.devices.device import Device
from edgepack.toolchain.errors import DeviceError

HOTTEST_C, COOL_DOWN_S = 45, 300
"""A phone that rests is below; waiting ends after this many seconds."""


@contextlib.contextmanager
def prepared(device: Device) -> Iterator[list[str]]:
    """Run prepare.sh before and restore.sh after.

    Yields:
        What was changed and what could not be, in words; what cannot be restored is added at the end.

    Raises:
        DeviceError: The device gives no answer.
    """
    device.tell("preparing the device")
    answer = device.transport.run("prepare", str(HOTTEST_C), str(COOL_DOWN_S), limit_s=LONG_S)
    changed = answer.stdout.split()
    notes = [f"prepared: {', '.join(changed) or 'nothing could be changed'}"]
    notes += [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    try:
        yield notes
    finally:
        if changed:
            notes += _restored(device, changed)


def _restored(device: Device, changed: list[str]) -> list[str]:
    """Nothing, or what is left as it was changed."""
    try:
        answer = device.transport.run("restore", *changed)
        if answer.code == 0:
            return []
        why = answer.stderr
    except DeviceError as error:
        why = error.what
    left = f"not everything was put back ({', '.join(changed)}): {why}"
    device.tell(left)
    return [left]
