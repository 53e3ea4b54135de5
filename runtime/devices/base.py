"""Transport: what a device must be able to do for edgepack, and the registry of those that can.

A transport moves files and runs scripts. It believes nothing: whether a file arrived, and whether a run was
done, is found out by hashes (`store.py`, `job.py`). Every call stands for itself, so that after a broken link
the next one simply connects again.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgepack.runtime.devices import shell
from edgepack.runtime.devices.address import Address
from edgepack.toolchain.errors import DeviceError, LinkLostError
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    from typing_extensions import Self

    from edgepack.runtime.devices.client import Spoken
    from edgepack.toolchain.results import Tool

SHORT_S, LONG_S = 60.0, 3600.0
"""Seconds that a question may take, and that a file may."""


class Transport(ABC):
    """A way to one device.

    Args:
        address: Where it is.
        config: A configuration file for the client (ssh's), instead of the user's own.
    """

    default_workdir = ""
    """Where edgepack's folder lies on the device unless told; empty for the account's cache folder."""
    root = "/"
    """Where the device's /proc and /sys are."""
    emulated: str | None = None
    """What plays the device, where it is none: then no time that is measured there means anything."""
    emulator: Tool | None = None
    """The program that does."""
    uncounted = ""
    """Why an emulated device counts no instructions."""
    onnxruntime: Path | None = None
    """ONNX Runtime's library for it, where the device brings one."""

    def __init__(self, address: Address, *, config: Path | None = None) -> None:
        self.address = address
        self.config = config

    @abstractmethod
    def speak(self, script: bytes, limit_s: float) -> Spoken:
        """Give `script` to `sh -s` on the device, and hand back whatever comes.

        Raises:
            LinkLostError: Nothing came within `limit_s`.
        """

    @abstractmethod
    def failure(self, spoken: Spoken, what: str) -> DeviceError:
        """The error for a client's words; a `LinkLostError` when trying again may help."""

    @abstractmethod
    def push(self, source: Path, place: str, *, resume: bool = False, limit_s: float = LONG_S) -> None:
        """Copy a file to an absolute path on the device; what arrived has to be looked at.

        Args:
            source: The file.
            place: Where it goes.
            resume: Its beginning may be there from before a broken link: go on behind it, where the client can.
            limit_s: Seconds.

        Raises:
            DeviceError: The client says that it failed.
        """

    @abstractmethod
    def pull(self, place: str, target: Path, *, limit_s: float = LONG_S) -> None:
        """Copy a file of the device; what arrived has to be looked at.

        Raises:
            DeviceError: The client says that it failed.
        """

    def run(self, script: str, *words: str, limit_s: float = SHORT_S) -> shell.Answer:
        """Run a script of scripts/ on the device, to its end.

        Args:
            script: Its name.
            words: Its arguments; they may hold anything but NUL.
            limit_s: Seconds.

        Raises:
            LinkLostError: No answer: it may or may not have run.
            DeviceError: The device refuses us.
        """
        nonce = secrets.token_hex(16)
        spoken = self.speak(shell.compose(shell.script(script), words, nonce), limit_s)
        answer = shell.answer(spoken.stdout, spoken.stderr, nonce)
        if answer is None:
            raise self.failure(spoken, "The device gave no answer")
        return answer

    def open(self) -> None:  # noqa: B027 - a default, not a duty
        """Connect.

        Raises:
            ToolchainMissingError: The client is not installed.
            DeviceError: The device cannot be reached, or refuses us.
        """

    def reconnect(self) -> None:  # noqa: B027 - a default, not a duty
        """Forget a broken link, so that the next call makes a new one. Raises nothing."""

    def close(self) -> None:  # noqa: B027 - a default, not a duty
        """Hang up. Raises nothing."""

    def lost(self, what: str) -> LinkLostError:
        """The error for a link that broke."""
        return LinkLostError(
            what,
            where=str(self.address),
            todo="Check that the device is on and connected, and try again",
        )

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


transports: Registry[type[Transport]] = Registry("kind of device", "edgepack.runtime.devices.transports")
