"""Where a device is: `local`, `ssh://[user@]host[:port]`, `adb://SERIAL`, `adb://host:port` or `board://NAME`.

An address becomes arguments of ssh and adb, and ssh puts host and user into commands of its own
(`ProxyCommand` with %h and %r). So the letters that a host, a user or a serial may have are counted out
here, and none of them begins with a hyphen, which would make an option of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgepack.toolchain.errors import UsageError

FORMS = "local, ssh://[user@]host[:port], adb://SERIAL, adb://host:port or board://NAME"
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
_BRACKETED = r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]"  # RFC 4007's zone after the per cent sign
_SSH = re.compile(
    rf"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*\$?)@)?(?P<host>{_HOST}|{_BRACKETED})(?::(?P<port>[0-9]{{1,5}}))?"
)
_ADB_NETWORK = re.compile(rf"(?P<host>{_HOST}|{_BRACKETED}):(?P<port>[0-9]{{1,5}})")
# "R58M12ABCDE", "emulator-5554", "adb-R58M._adb-tls-connect._tcp", "usb:1-2.3"
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
_BOARD = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """A device's place.

    Attributes:
        scheme: Name of the transport: "local", "ssh", "adb" or "board".
        host: Name or IP address, brackets removed; None for a serial, and here.
        port: TCP port, when one was given.
        user: Account of ssh, when one was given.
        serial: adb's name of a device that is plugged in, or an emulated board's name.
    """

    scheme: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    serial: str | None = None

    def __str__(self) -> str:
        """The address as `parse` reads it."""
        if self.scheme == "local":
            return "local"
        host = self.host or self.serial or ""
        host = f"[{host}]" if self.host and ":" in host else host
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}{f':{self.port}' if self.port is not None else ''}"


def parse(text: str) -> Address:
    """The address that a user wrote.

    Raises:
        UsageError: It is none. A password in it is refused and not repeated.
    """
    if text == "local":
        return Address("local")
    scheme, colon, rest = text.partition("://")
    if not colon or scheme not in {"ssh", "adb", "board"}:
        raise _wrong(text, f"Write it as {FORMS}")
    rest = rest.removesuffix("/")
    if ":" in rest.rpartition("@")[0]:
        raise UsageError(
            f"A device's address must not hold a password ({scheme}://...@{_printable(rest.rpartition('@')[2])})",
            todo="Use a key: ssh-copy-id puts yours on the device, and ssh-agent holds its passphrase",
        )
    if scheme == "board":
        if _BOARD.fullmatch(rest) is None:
            raise _wrong(text, "Write it as board://NAME; `edgepack board list` lists the names")
        return Address("board", serial=rest)
    if scheme == "ssh":
        found = _SSH.fullmatch(rest)
        if found is None:
            raise _wrong(
                text, "Write it as ssh://user@host:port; a host of your ssh configuration will do, too"
            )
        port = _port(found["port"], text)
        return Address("ssh", found["host"].strip("[]"), port, found["user"])
    network = _ADB_NETWORK.fullmatch(rest)
    if network is not None and not rest.startswith("usb:"):
        return Address("adb", network["host"].strip("[]"), _port(network["port"], text))
    if _SERIAL.fullmatch(rest) is None:
        raise _wrong(text, "Write it as adb://SERIAL or adb://host:port; `adb devices` lists the serials")
    return Address("adb", serial=rest)


def _port(text: str | None, address: str) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 1 <= port <= _LARGEST_PORT:
        raise _wrong(address, f"A port is a number from 1 to {_LARGEST_PORT}")
    return port


def _wrong(text: str, todo: str) -> UsageError:
    return UsageError(f"'{_printable(text)}' is not the address of a device", where="--device", todo=todo)


def _printable(text: str) -> str:
    """Without control characters, which could rewrite a terminal's line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
