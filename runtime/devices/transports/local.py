"""This machine as a device: the same scripts and files, with nothing in between."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgepack.runtime.devices import client
from edgepack.runtime.devices.base import LONG_S, Transport, transports
from edgepack.toolchain.errors import DeviceError


@transports.register("local")
class LocalTransport(Transport):
    """`sh` and copies of files."""

    def speak(self, script: bytes, limit_s: float) -> client.Spoken:
        spoken = client.call(["sh", "-s"], given=script, limit_s=limit_s)
        if spoken.code is None:
            raise self.lost(f"The shell did not answer within {limit_s:g} s")
        return spoken

    def failure(self, spoken: client.Spoken, what: str) -> DeviceError:
        return self.lost(f"{what}; its shell said: {spoken.words}")

    def push(self, source: Path, place: str, *, resume: bool = False, limit_s: float = LONG_S) -> None:
        del resume, limit_s
        self._copy(source, Path(place))

    def pull(self, place: str, target: Path, *, limit_s: float = LONG_S) -> None:
        del limit_s
        self._copy(Path(place), target)

    def _copy(self, source: Path, target: Path) -> None:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise DeviceError(
                f"{source.name} cannot be copied: {error.strerror}", where=str(target.parent)
            ) from error
