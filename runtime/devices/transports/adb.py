"""An Android device over the system's adb: by its serial, or by host and port.

adb 29's exit codes say little: 0 for a shell whose daemon died half-way, and for a `connect` that was
refused. So the state is asked for by itself, and every answer must carry the script's last line (`shell.py`).
adb's server is the user's and is left running; a network device that was connected here is disconnected.

A device must have adb's second shell protocol (Android 7, 2016): the first has no standard error of its own.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from edgepack.runtime.devices import client, shell
from edgepack.runtime.devices.address import Address
from edgepack.runtime.devices.base import LONG_S, SHORT_S, Transport, transports
from edgepack.toolchain.errors import DeviceError

_INSTALL = "Install Android's platform tools: apt install adb"
_CONNECT_S = 20.0
# What adb says (29 to 35) -> what it means, and the cure. These do not pass by waiting.
_REFUSALS = (
    (
        r"unauthorized|failed to authenticate|authorizing",
        "The device has not allowed this computer to debug it",
        (
            "Unlock it and confirm the question on its screen; if none comes, revoke USB debugging "
            "authorizations in its developer options and plug it in again"
        ),
    ),
    (
        r"insufficient permissions|no permissions",
        "This account may not open the device's USB port",
        "Install the udev rules: apt install android-sdk-platform-tools-common",
    ),
    (r"more than one device", "Several devices are connected", "Name one by its serial: adb devices"),
)


@transports.register("adb")
class AdbTransport(Transport):
    """The system's adb."""

    default_workdir = "/data/local/tmp/edgepack"

    def __init__(self, address: Address, *, config: Path | None = None) -> None:
        super().__init__(address, config=config)
        self._adb = ""
        self._ours = False
        host = f"[{address.host}]" if address.host and ":" in address.host else address.host
        self.serial = address.serial or f"{host}:{address.port}"

    def open(self) -> None:
        self._adb = client.find("adb", _INSTALL)
        self._connect()
        state = client.call([self._adb, "-s", self.serial, "get-state"], limit_s=SHORT_S)
        if state.stdout.strip() != b"device":
            raise self.failure(state, "The device is not ready")

    def speak(self, script: bytes, limit_s: float) -> client.Spoken:
        command = [self._adb, "-s", self.serial, "shell", "-T", shell.COMMAND]
        spoken = client.call(command, given=script, limit_s=limit_s)
        if spoken.code is None:
            raise self.lost(f"The device did not answer over adb within {limit_s:g} s")
        return spoken

    def failure(self, spoken: client.Spoken, what: str) -> DeviceError:
        said = (spoken.stderr + spoken.stdout).decode(errors="replace")
        for pattern, meaning, cure in _REFUSALS:
            if re.search(pattern, said):
                return DeviceError(meaning, where=str(self.address), todo=cure)
        return self.lost(f"{what} over adb; it said: {spoken.words}")

    def push(self, source: Path, place: str, *, resume: bool = False, limit_s: float = LONG_S) -> None:
        del resume  # adb's sync protocol has no offset
        self._copy(["push", str(source.resolve()), place], f"{source.name} could not be sent", limit_s)

    def pull(self, place: str, target: Path, *, limit_s: float = LONG_S) -> None:
        self._copy(["pull", place, str(target.absolute())], f"{target.name} could not be fetched", limit_s)

    def reconnect(self) -> None:
        if self.address.host is not None:
            with contextlib.suppress(DeviceError):
                client.call([self._adb, "disconnect", self.serial], limit_s=_CONNECT_S)
                self._connect()

    def close(self) -> None:
        if self._ours:
            with contextlib.suppress(Exception):
                client.call([self._adb, "disconnect", self.serial], limit_s=_CONNECT_S)
            self._ours = False

    def _connect(self) -> None:
        if self.address.host is None:
            return
        said = client.call([self._adb, "connect", self.serial], limit_s=_CONNECT_S)
        text = said.stdout.decode(errors="replace")
        if said.code is None or not re.search(r"^(already )?connected to ", text, re.MULTILINE):
            raise self.failure(said, "The device cannot be reached")
        self._ours = self._ours or "already" not in text

    def _copy(self, words: list[str], what: str, limit_s: float) -> None:
        spoken = client.call([self._adb, "-s", self.serial, *words], limit_s=limit_s)
        if spoken.code is None:
            raise self.lost(f"{what} within {limit_s:g} s")
        if spoken.code == 0:
            return
        # adb's sync protocol names the side that refused; everything else is the link.
        if re.search(r"remote |failed to stat|adb: error: cannot ", spoken.words):
            raise DeviceError(f"{what}; adb said: {spoken.words}", where=str(self.address))
        raise self.failure(spoken, what)
