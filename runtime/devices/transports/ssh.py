"""A device over the system's ssh and sftp: the user's keys, agent, configuration and known hosts.

All calls share one connection (ssh's ControlMaster), whose socket lies in a folder of its own that only this
user can enter; when the connection breaks, the next call makes another. Nothing is ever asked for on the
terminal (BatchMode): an unknown host key, a wrong one or a missing key is an error with its cure. What ssh
itself would not trust is not trusted here.

Files travel under names of this module's making, by a link beside the socket, because sftp's batch language
reads patterns and quotes in names.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from edgepack.runtime.devices import client, shell
from edgepack.runtime.devices.address import Address
from edgepack.runtime.devices.base import LONG_S, SHORT_S, Transport, transports
from edgepack.toolchain.errors import DeviceError, UsageError

_INSTALL = "Install OpenSSH's client: apt install openssh-client"
_OPTIONS = {
    "BatchMode": "yes",
    "ControlMaster": "auto",
    "ControlPersist": "60",
    # A dead link is noticed within 15 s.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ConnectTimeout": "15",
    "LogLevel": "ERROR",
    # Whatever the user's configuration does for interactive logins has no place here.
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "PermitLocalCommand": "no",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
}
# What ssh says (OpenSSH 7 to 10) -> what it means, and the cure. These do not pass by waiting.
_REFUSALS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The device's host key is another one than before: it was installed anew, or somebody sits in between",
        "Find out which; after a new installation remove the old key with: ssh-keygen -R {host}",
    ),
    (
        r"Host key verification failed|No .* host key is known for",
        "The device's host key is not known here",
        "Connect once by hand, compare the fingerprint, and accept it: ssh {target}",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature",
        "The device does not accept our key",
        "Put your key there with: ssh-copy-id {target}; a key with a passphrase must be in ssh-agent",
    ),
    (r"Could not resolve hostname", "There is no host of that name", "Check the name, or use its IP address"),
    (
        r"Bad configuration option|terminating, .* bad|Can't open user config file",
        "ssh does not accept its configuration",
        "Correct the file that it names",
    ),
)


@transports.register("ssh")
class SshTransport(Transport):
    """The system's ssh and sftp."""

    def __init__(self, address: Address, *, config: Path | None = None) -> None:
        super().__init__(address, config=config)
        self._folder: Path | None = None
        self._ssh = self._sftp = ""

    def open(self) -> None:
        self._ssh, self._sftp = client.find("ssh", _INSTALL), client.find("sftp", _INSTALL)
        if self.config is not None and not self.config.is_file():
            raise UsageError("There is no such ssh configuration", where=str(self.config))
        # Short: the path of a socket has at most 104 characters on some systems.
        self._folder = Path(tempfile.mkdtemp(prefix="edgepack-ssh-", dir=_short_folder()))

    def speak(self, script: bytes, limit_s: float) -> client.Spoken:
        command = [self._ssh, *self._options("-p"), "-T", "--", self.address.host or "", shell.COMMAND]
        spoken = client.call(command, given=script, limit_s=limit_s)
        if spoken.code is None:
            raise self.lost(f"The device did not answer over ssh within {limit_s:g} s")
        return spoken

    def failure(self, spoken: client.Spoken, what: str) -> DeviceError:
        said = (spoken.stderr + spoken.stdout).decode(errors="replace")
        host = self.address.host or ""
        port = f"-p {self.address.port} " if self.address.port else ""
        target = f"{port}{self.address.user}@{host}" if self.address.user else f"{port}{host}"
        for pattern, meaning, cure in _REFUSALS:
            if re.search(pattern, said):
                return DeviceError(
                    meaning, where=str(self.address), todo=cure.format(host=host, target=target)
                )
        return self.lost(f"{what} over ssh; it said: {spoken.words}")

    def push(self, source: Path, place: str, *, resume: bool = False, limit_s: float = LONG_S) -> None:
        name = f"out-{secrets.token_hex(8)}"
        link = self._home / name
        link.symlink_to(source.resolve())
        # sftp goes on behind what is there ("put -a"), and fails where nothing is: a line that begins with "-"
        # may fail. Whether that gave the file is for its hash to say.
        line = f"-put -a {name} {_quoted(place)}" if resume else f"put {name} {_quoted(place)}"
        try:
            self._batch(line, f"{source.name} could not be sent", limit_s)
        finally:
            link.unlink(missing_ok=True)

    def pull(self, place: str, target: Path, *, limit_s: float = LONG_S) -> None:
        name = f"in-{secrets.token_hex(8)}"
        try:
            self._batch(f"get {_quoted(place)} {name}", f"{target.name} could not be fetched", limit_s)
            shutil.move(self._home / name, target)
        finally:
            (self._home / name).unlink(missing_ok=True)

    def reconnect(self) -> None:
        self._hang_up()

    def close(self) -> None:
        self._hang_up()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def _home(self) -> Path:
        if self._folder is None:
            raise UsageError("The connection is closed", where=str(self.address), todo="Open it first")
        return self._folder

    def _options(self, port_option: str) -> list[str]:
        words = ["-F", str(self.config.resolve())] if self.config is not None else []
        for name, value in {**_OPTIONS, "ControlPath": f"{self._home}/c"}.items():
            words += ["-o", f"{name}={value}"]
        if self.address.user is not None:
            words += ["-o", f"User={self.address.user}"]
        return words + ([port_option, str(self.address.port)] if self.address.port is not None else [])

    def _batch(self, line: str, what: str, limit_s: float) -> None:
        host = self.address.host or ""
        command = [
            self._sftp,
            "-q",
            "-b",
            "-",
            *self._options("-P"),
            "--",
            f"[{host}]" if ":" in host else host,
        ]
        given = f"{line}\n".encode("utf-8", "surrogateescape")
        spoken = client.call(command, given=given, limit_s=limit_s, cwd=str(self._home))
        if spoken.code is None:
            raise self.lost(f"{what} within {limit_s:g} s")
        if spoken.code == 0:
            return
        # sftp ends with 1 when the device refused, 255 when the link broke.
        if spoken.code == 1:
            raise DeviceError(f"{what}; sftp said: {spoken.words}", where=str(self.address))
        raise self.failure(spoken, what)

    def _hang_up(self) -> None:
        if self._folder is None or not (self._folder / "c").exists():
            return
        command = [self._ssh, *self._options("-p"), "-O", "exit", "--", self.address.host or ""]
        with contextlib.suppress(Exception):
            client.call(command, limit_s=SHORT_S / 6)
        (self._folder / "c").unlink(missing_ok=True)


def _short_folder() -> str | None:
    """A folder whose path is short; macOS's own for temporary files is not."""
    return "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 - a folder of random name and mode 700 is made in it


def _quoted(place: str) -> str:
    r"""A path in sftp's batch language: in double quotes, where only \ and " have a meaning."""
    if set(place) & {"\n", "\r", "\0"}:
        raise UsageError("A path on the device holds a line break, which sftp cannot take", where=place)
    return '"' + place.replace("\\", "\\\\").replace('"', '\\"') + '"'
