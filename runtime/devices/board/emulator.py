"""QEMU's user mode for 64-bit ARM: where it is, whether it takes plugins, and the processors that it plays."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.runtime.devices import client
from edgepack.toolchain.errors import ToolchainMissingError, UnknownNameError

# The first is linked dynamically in Debian, and only such a QEMU takes plugins.
PROGRAMS = ("qemu-aarch64", "qemu-aarch64-static")
DEFAULT_PROCESSOR = "cortex-a76"
_ASK_S = 30.0
_INSTALL = "Install it: apt install qemu-user (takes plugins) or qemu-user-static"
_ARMV8 = ("fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32")
_ARMV8_2 = ("atomics", "fphp", "asimdhp", "cpuid", "asimdrdm", "lrcpc", "dcpop", "asimddp")


@dataclass(frozen=True)
class Processor:
    """A processor that QEMU plays.

    Attributes:
        name: QEMU's.
        part: Arm's number of it (MIDR_EL1, bits 15 to 4; its technical reference manual).
        features: Linux' names of what it has (Documentation/arch/arm64/elf_hwcaps.rst).
    """

    name: str
    part: int
    features: tuple[str, ...]


PROCESSORS: Mapping[str, Processor] = {
    one.name: one
    for one in (
        Processor("cortex-a53", 0xD03, _ARMV8),
        Processor("cortex-a72", 0xD08, _ARMV8),
        Processor("cortex-a76", 0xD0B, (*_ARMV8, *_ARMV8_2)),
    )
}
"""`max` is left out: it plays what no board has, several times slower."""


@dataclass(frozen=True)
class Emulator:
    """A QEMU of this machine.

    Attributes:
        path: Its program.
        version: "7.2.22".
        plugins: Whether it takes plugins.
    """

    path: Path
    version: str
    plugins: bool


def processor(name: str) -> Processor:
    """The processor of a name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in PROCESSORS:
        raise UnknownNameError("processor", name, list(PROCESSORS), where="--cpu")
    return PROCESSORS[name]


def find() -> Emulator:
    """The QEMU of this machine; one that takes plugins, where there are several.

    Raises:
        ToolchainMissingError: There is none.
    """
    found = [asked(path) for name in PROGRAMS if (path := shutil.which(name))]
    if not found:
        raise ToolchainMissingError("QEMU's emulator of 64-bit ARM programs is not installed", todo=_INSTALL)
    return max(found, key=lambda one: one.plugins)


def asked(path: str) -> Emulator:
    """What a QEMU says of itself."""
    said = client.call([path, "--version"], limit_s=_ASK_S).stdout.decode(errors="replace")
    version = re.search(r"version ([0-9.]+)", said)
    told = client.call([path, "--help"], limit_s=_ASK_S).stdout.decode(errors="replace")
    return Emulator(
        Path(path),
        version[1] if version else "unknown",
        re.search(r"^-plugin\b", told, re.MULTILINE) is not None,
    )
