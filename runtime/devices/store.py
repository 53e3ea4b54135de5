"""Files on the device by their content: what is there already is not sent again.

    BASE/store/<SHA-256>     what arrived whole, whoever needed it
    BASE/runs/<number>/      a run's own folder, into which files of the store are linked under their names

A file arrives in the run's folder, is hashed there by the device, and only then takes its place in the store,
by a rename. A link that breaks on the way is taken up again behind what had arrived. What is in the store is
hashed again before it is believed: a device may have lost power while it wrote, or somebody may have changed it.

Calls are few, as each starts the account's shell, which may take longer than a file: one for all that is there,
and for a file that is not, a transfer and one more.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from edgepack.runtime.devices.base import LONG_S, Transport
from edgepack.runtime.devices.shell import Answer
from edgepack.toolchain.errors import DeviceError, LinkLostError

_TRIES = 2
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a link that broke while a file was sent is tried again."""
_UNEQUAL = 2  # exit code of keep.sh and own.sh


def place(
    transport: Transport,
    base: str,
    run: str,
    wanted: Mapping[str, tuple[str, Path]],
    tell: Callable[[str], object] = lambda _: None,
) -> set[str]:
    """Put files into a run's folder, and those that the device does not have into its store first.

    Args:
        transport: Connected.
        base: edgepack's folder on the device.
        run: Number of the run.
        wanted: Name in the run's folder -> SHA-256 (hexadecimal), file here.
        tell: Called with a sentence before a file is sent.

    Returns:
        The hashes that had to be sent.

    Raises:
        DeviceError: A file cannot be sent or placed, or arrives as another one, twice.
    """
    words = [word for name, (sha256, _) in wanted.items() for word in (sha256, name)]
    answer = transport.run("place", base, run, *words, limit_s=LONG_S)
    if answer.code != 0:
        raise DeviceError(
            f"Files cannot be put into the run's folder: {answer.stderr or f'exit code {answer.code}'}",
            where=str(transport.address),
        )
    said = answer.stdout.split()
    missing = {sha256: file for sha256, file in wanted.values() if sha256 in said}
    for sha256, file in missing.items():
        tell(f"sending {file.name} ({file.stat().st_size / 1e6:.1f} MB)")
        names = [name for name, (other, _) in wanted.items() if other == sha256]
        _send(transport, base, run, file, ("keep", sha256, *names))
    return set(missing)


def send_own(transport: Transport, base: str, run: str, sha256: str, file: Path, name: str) -> None:
    """Send a file into a run's folder alone, with which it goes.

    Raises:
        DeviceError: It cannot be sent, or arrives as another one, twice.
    """
    _send(transport, base, run, file, ("own", sha256, name))


def _send(transport: Transport, base: str, run: str, file: Path, then: tuple[str, ...]) -> None:
    """Send a file, and run a script with its name there before the script's other words, until it agrees."""
    script, *words = then
    answer = Answer(_UNEQUAL, "", "")
    broken, unequal, resume = 0, 0, False
    arriving = f"incoming-{secrets.token_hex(8)}"
    while unequal < _TRIES:
        try:
            transport.push(file, f"{base}/runs/{run}/{arriving}", resume=resume)
            answer = transport.run(script, base, run, arriving, *words, limit_s=LONG_S)
        except LinkLostError:
            broken += 1
            if broken > len(_PAUSES_S):
                raise
            time.sleep(_PAUSES_S[broken - 1])
            transport.reconnect()
            resume = True
            continue
        except DeviceError as error:
            raise _explained(transport, base, run, file, error) from error
        if answer.code == 0:
            return
        if answer.code != _UNEQUAL:
            break
        # What a broken link left may be anything: the next turn begins at the first byte.
        unequal += not resume
        resume, arriving = False, f"incoming-{secrets.token_hex(8)}"
    if answer.code == _UNEQUAL:
        what = f"{file.name} was sent, and the device has another file: the client's success was none"
    else:
        what = f"{file.name} arrived and cannot be kept: {answer.stderr or f'exit code {answer.code}'}"
    raise _explained(
        transport, base, run, file, DeviceError(what, where=str(transport.address), todo="Try again")
    )


def _explained(transport: Transport, base: str, run: str, file: Path, error: DeviceError) -> DeviceError:
    """The error, or that the device's disk is full, where that is what it comes from."""
    free = free_bytes(transport, base, run)
    size = file.stat().st_size
    if free is None or free >= size:
        return error
    return DeviceError(
        f"The device's disk is full: {file.name} takes {size / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free",
        where=f"{transport.address}, {base}",
        todo="Make room, or name a folder on a larger disk with --workdir",
    )


def free_bytes(transport: Transport, base: str, run: str) -> int | None:
    """Room in the run's folder, None when the device does not say."""
    try:
        answer = transport.run("watch", base, run, "0", "25")
    except DeviceError:
        return None
    for line in answer.stdout.splitlines():
        key, _, value = line.partition(" ")
        if key == "free" and value.isdigit():
            return int(value) * 1024
    return None
