"""The .NET runtime that a vendor's compiler needs, and that no wheel brings.

One that the machine has is used: in the folder that `DOTNET_ROOT` names, that /etc/dotnet/install_location says, or
where Linux distributions and Microsoft's installer put it. Where there is none, `edgepack setup` takes .NET 9.0.1 as a
program published by Microsoft carries it whole (npm's `@azure/mcp-linux-x64` 0.1.0, MIT), checked by its SHA-512, and
lays the runtime's files out as an installation of .NET has them; nothing of the program itself is kept::

    <root>/host/fxr/<version>/libhostfxr.so
          /shared/Microsoft.NETCore.App/<version>/*

https://github.com/dotnet/designs/blob/main/accepted/2020/install-locations.md says where one is looked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.subprocesses import run_tool

ROOT_VARIABLE = "DOTNET_ROOT"
_SAID = Path("/etc/dotnet/install_location")
_USUAL = ("/usr/share/dotnet", "/usr/lib/dotnet", "/usr/lib64/dotnet", "/usr/local/share/dotnet", "~/.dotnet")
_FRAMEWORK = "Microsoft.NETCore.App"
_FXR = "libhostfxr.so"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")

PACKAGE = "@azure/mcp-linux-x64@0.1.0"
DIGEST = "PdtdmolYddEK1NldaB75sAmGQURLFVLACfwgh+TEjYltbFT4uSL0YqZBrR55SZ5S0/MtKaMCJmbYcvB/VpMfkA=="
"""SHA-512 of its archive, in base64, as npm's registry names it ("integrity")."""


@dataclass(frozen=True)
class Runtime:
    """One that is there.

    Attributes:
        root: What `DOTNET_ROOT` is to be.
        version: Of the framework, "9.0.1".
    """

    root: Path
    version: str


@dataclass(frozen=True)
class DotNet:
    """A toolchain's need of .NET (`environments.Companion`).

    Attributes:
        least: Lowest major version.
    """

    least: int
    name: str = "dotnet"

    def find(self, folder: Path) -> Runtime | None:
        """The newest of the machine's own, or the one in the environment `folder`; None where neither is.

        A toolchain built for an older major version runs on it where its process is told to roll forward
        (`DOTNET_ROLL_FORWARD=Major`).
        """
        for root in (*_places(), folder / self.name):
            found = runtime_in(root)
            if found is not None and int(found.version.partition(".")[0]) >= self.least:
                return found
        return None

    def version(self, folder: Path) -> str | None:
        """Version of what `find` finds."""
        found = self.find(folder)
        return None if found is None else found.version

    def put(self, folder: Path, time_limit_s: float) -> None:
        """Bring one into the environment `folder`.

        Raises:
            ToolchainFailedError: There is no npm, it failed, or what it brought is not what was locked.
        """
        npm = shutil.which("npm")
        if npm is None:
            raise ToolchainFailedError(
                f"This toolchain needs Microsoft's .NET {self.least} or newer, which is not here",
                where=str(folder),
                todo=f"Install it (a package like dotnet-runtime-8.0, or Microsoft's installer; {ROOT_VARIABLE} names "
                "its folder), or install npm, which has it, and run this again",
            )
        with tempfile.TemporaryDirectory(prefix="dotnet-", dir=folder) as scratch:
            archive = _packed(npm, Path(scratch), time_limit_s)
            made = Path(scratch) / "made"
            lay_out(archive, made)
            shutil.rmtree(folder / self.name, ignore_errors=True)
            made.rename(folder / self.name)


def runtime_in(root: Path) -> Runtime | None:
    """The newest whole runtime below `root`; None where there is none."""
    found = [
        path.name
        for path in (root / "shared" / _FRAMEWORK).glob("*")
        if _VERSION.fullmatch(path.name) and (path / "libcoreclr.so").is_file()
    ]
    if not found or not any(root.glob(f"host/fxr/*/{_FXR}")):
        return None
    return Runtime(root, max(found, key=_numbers))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _places() -> Iterator[Path]:
    """Where the machine's own may be, in the order in which .NET's hosts look."""
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        yield Path(named)
    try:
        said = _SAID.read_text(encoding="utf-8").strip()
    except OSError:
        said = ""
    if said:
        yield Path(said)
    yield from (Path(place).expanduser() for place in _USUAL)


def _packed(npm: str, folder: Path, time_limit_s: float) -> Path:
    """The archive, which is what was locked. `npm pack` runs nothing of what it fetches."""
    command = [npm, "pack", "--silent", "--ignore-scripts", PACKAGE]
    run_tool("npm", command, time_limit_s=time_limit_s, cwd=folder)
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise ToolchainFailedError(f"npm brought {len(found)} archives of {PACKAGE} instead of one")
    if base64.b64encode(hashlib.sha512(found[0].read_bytes()).digest()).decode() != DIGEST:
        raise ToolchainFailedError(
            f"What npm brought as {PACKAGE} is not what this version of edgepack was locked to",
            todo="Look at npm's registry setting, or install .NET yourself",
        )
    return found[0]


def lay_out(archive: Path, root: Path) -> str:
    """Lay the runtime of a self-contained program out below `root` as an installation has it.

    Args:
        archive: A tar file of the program: its `*.deps.json` says which files are the runtime's.
        root: A folder that does not exist yet.

    Returns:
        The runtime's version.

    Raises:
        ToolchainFailedError: The archive holds no whole runtime.
    """
    try:
        with tarfile.open(archive) as tar:
            files = {Path(member.name).name: member for member in tar if member.isfile()}
            version, target, library = _runtime_of(tar, files)
            shared = root / "shared" / _FRAMEWORK / version
            fxr = root / "host" / "fxr" / version
            for folder in (shared, fxr):
                folder.mkdir(parents=True)
            for name in (*library["runtime"], *library["native"]):
                place = fxr if name == _FXR else shared
                with (place / Path(name).name).open("wb") as written:
                    shutil.copyfileobj(_opened(tar, files[name]), written)
    except (OSError, KeyError, ValueError, TypeError, StopIteration, tarfile.TarError) as error:
        raise ToolchainFailedError(
            f"{archive.name} holds no whole .NET runtime: {' '.join(str(error).split())[:200]}"
        ) from error
    name = f"{_FRAMEWORK}.Runtime.linux-x64/{version}"
    facts = {
        "runtimeTarget": {"name": target, "signature": ""},
        "targets": {target: {name: library}},
        "libraries": {name: {"type": "package", "serviceable": False, "sha512": ""}},
    }
    (shared / f"{_FRAMEWORK}.deps.json").write_text(json.dumps(facts), encoding="utf-8")
    return version


def _runtime_of(tar: tarfile.TarFile, files: dict[str, tarfile.TarInfo]) -> tuple[str, str, dict[str, Any]]:
    """Version, target, and files of the runtime that a program's `*.deps.json` lists."""
    listed = next(name for name in files if name.endswith(".deps.json"))
    facts = json.load(_opened(tar, files[listed]))
    target = facts["runtimeTarget"]["name"]
    prefix = f"runtimepack.{_FRAMEWORK}.Runtime."
    name = next(name for name in facts["targets"][target] if name.startswith(prefix))
    version = name.partition("/")[2]
    if not _VERSION.fullmatch(version):
        raise ValueError(f"the version {version[:40]!r}")
    library = facts["targets"][target][name]
    return version, target, {side: dict(library[side]) for side in ("runtime", "native")}


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    found = tar.extractfile(member)
    if found is None:
        raise ValueError(f"{member.name} is no file")
    return found
