"""Addresses: what is accepted, and that nothing hostile becomes an argument."""

from __future__ import annotations

import pytest

from edgepack.runtime.devices.address import Address, parse
from edgepack.toolchain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", Address("local")),
        ("ssh://pi@raspberry.local", Address("ssh", "raspberry.local", None, "pi")),
        ("ssh://board:2222", Address("ssh", "board", 2222)),
        ("ssh://root@[fe80::1%eth0]:22", Address("ssh", "fe80::1%eth0", 22, "root")),
        ("ssh://svc$@host", None),
        ("adb://R58M12ABCDE", Address("adb", serial="R58M12ABCDE")),
        ("adb://emulator-5554", Address("adb", serial="emulator-5554")),
        ("adb://usb:1-2.3", Address("adb", serial="usb:1-2.3")),
        ("adb://usb:1", Address("adb", serial="usb:1")),
        ("adb://adb-R58M._adb-tls-connect._tcp", Address("adb", serial="adb-R58M._adb-tls-connect._tcp")),
        ("adb://192.168.1.7:5555", Address("adb", "192.168.1.7", 5555)),
        ("board://my-board_2", Address("board", serial="my-board_2")),
    ],
)
def test_addresses_and_their_spelling(text, expected):
    address = parse(text)
    if expected is not None:
        assert address == expected
    assert str(address) == text
    assert parse(str(address)) == address


HOSTILE = (
    "-oProxyCommand=touch /tmp/x",
    "-oProxyCommand=x@host",
    "host -p",
    "host;id",
    "$(id)",
    "`id`",
    "user@-oProxyCommand=x",
    "a@b@c",
    "host\nHost *",
    "host\x1b[2J",
    "host|id",
    "host'",
    'host"',
    "host%h",
    "hôte",
    "host-",
    "",
    "..",
    "host:0",
    "host:65536",
    "host:22:22",
    "[::1",
    "ho st",
)


@pytest.mark.parametrize("rest", HOSTILE)
def test_hostile_ssh_hosts_are_refused_before_ssh_sees_them(rest):
    with pytest.raises(UsageError) as error:
        parse(f"ssh://{rest}")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "rest", ["-s", "a b", "a;id", "$(id)", "a'b", "a\nb", "", "/dev/x", "a/../b", "é", "h:0"]
)
def test_hostile_serials_are_refused(rest):
    with pytest.raises(UsageError, match="not the address of a device"):
        parse(f"adb://{rest}")


@pytest.mark.parametrize("text", ["", "ssh:/host", "http://host", "LOCAL", "host", "fastboot://x", "--help"])
def test_other_schemes_are_refused_with_the_forms_there_are(text):
    with pytest.raises(UsageError, match="ssh://"):
        parse(text)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as error:
        parse("ssh://pi:raspberry-secret@board")
    assert "raspberry-secret" not in str(error.value)
    assert "board" in str(error.value)
    assert "key" in str(error.value)
