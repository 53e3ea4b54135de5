"""Run as a script: kills writers at every file operation they make, and prints what each kill left.

Python announces most file operations (open, rename, mkdir, remove, ...) to audit hooks before they
happen. A forked child counts those in the working folder and sends itself SIGKILL at the chosen
one: no `finally`, no `except` and no handler runs, as when the machine takes the process away. It
is a process of its own because forking is safe only while there are no threads.

    python crashes.py SCENARIO FOLDER  ->  one JSON list, an observation per kill
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepack.toolchain import bundle, bundle_writer, cache, files, staging
from edgepack.toolchain.errors import BundleError
from edgepack.toolchain.results import Environment, Manifest, SourceFacts

_OPERATIONS = {
    "open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.utime", "shutil.rmtree",
}  # fmt: skip
_NEVER_MORE_THAN = 1000


def manifest(name: str) -> Manifest:
    """The smallest manifest."""
    machine = Environment(
        cpu_model="c",
        cpu_features=[],
        cores=1,
        threads=1,
        spinning=False,
        memory_bytes=1,
        os="o",
        python="p",
        packages={},
    )
    source = SourceFacts(kind="onnx", location="m.onnx", fingerprint="0")
    return Manifest(
        edgepack="0",
        bundle=name,
        created="2026-01-01T00:00:00Z",
        command="",
        source=source,
        recipe={},
        environment=machine,
    )


def write_bundle(out: Path, name: str) -> None:
    """A bundle of three files in two folders."""
    with bundle_writer.BundleWriter(out) as writer:
        (writer.folder / "cpu").mkdir()
        for file in ("cpu/a", "cpu/b", "c"):
            (writer.folder / file).write_text(f"{name} {file}")
        writer.commit(manifest(name))


def killed_at(folder: Path, allowed: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that may make that many operations; whether the limit killed it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            _arm(str(folder), allowed)
            action()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the action failed by itself"
    return False


def _arm(folder: str, allowed: int) -> None:
    left = allowed

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in _OPERATIONS:
            return
        paths = [path for path in map(_text, arguments) if path is not None]
        inside = any(path.startswith(folder) for path in paths)
        relative = event.startswith("os.re") and not any(
            path.startswith(os.sep) for path in paths
        )  # by dir_fd
        if inside or relative:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)


def _text(argument: object) -> str | None:
    return os.fsdecode(argument) if isinstance(argument, (str, bytes, os.PathLike)) else None


def look_at_bundle(folder: Path) -> dict[str, Any]:
    """What a user finds at the bundle's place, before and after the next run cleaned up."""
    out = folder / "out"
    seen: dict[str, Any] = {"found": "nothing"}
    if out.exists():
        there = bundle.load(out)
        seen["found"] = there.manifest.bundle
        seen["problems"] = [str(problem) for problem in bundle.verify_hashes(there)]
    bundle_writer.check_out(out)
    seen["after"] = bundle.load(out).manifest.bundle if out.exists() else "nothing"
    seen["left"] = sorted(entry.name for entry in folder.iterdir())
    return seen


def bundle_scenario(folder: Path, *, old: bool, exchange: bool) -> list[dict[str, Any]]:
    """A bundle written to its place, over an older one or not."""
    out = folder / "out"
    if not exchange:
        staging.exchange = lambda first, second: False  # noqa: ARG005 - the real one's parameters
    observations = []
    for allowed in range(_NEVER_MORE_THAN):
        files.remove_tree(out)
        if old:
            write_bundle(out, "old")
        killed = killed_at(folder, allowed, lambda: write_bundle(out, "new"))
        observations.append(look_at_bundle(folder))
        if not killed:
            return observations
    raise AssertionError


def cache_scenario(folder: Path) -> list[dict[str, Any]]:
    """An entry of the cache built by a process that dies; then another one asks for it."""

    def build(place: Path) -> None:
        (place / "sub").mkdir()
        (place / "sub" / "a").write_text("a" * 1000)
        (place / "b").write_text("b")

    observations = []
    for allowed in range(_NEVER_MORE_THAN):
        root = folder / str(allowed)
        killed = killed_at(root, allowed, lambda root=root: cache.Cache(root).stage({"k": 1}, build))  # type: ignore[misc]
        warnings: list[str] = []
        second = cache.Cache(root, warn=warnings.append)
        place, hit = second.stage({"k": 1}, build)
        second.stage({"k": 2}, build)  # a miss, which sweeps
        contents = {name: (place / name).read_text() for name, _ in files.walk_files(place)}
        observations.append(
            {
                "killed": killed,
                "hit": hit,
                "warnings": warnings,
                "sound": contents == {"sub/a": "a" * 1000, "b": "b"},
                "left": sorted(path.name for path in root.glob("v1/tmp/*")),
                "users": len(list(root.glob("v1/users/*.keys"))),
            }
        )
        if not killed:
            return observations
    raise AssertionError


SCENARIOS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "first": lambda folder: bundle_scenario(folder, old=False, exchange=True),
    "exchange": lambda folder: bundle_scenario(folder, old=True, exchange=True),
    "two-renames": lambda folder: bundle_scenario(folder, old=True, exchange=False),
    "cache": cache_scenario,
}

if __name__ == "__main__":
    try:
        print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201 - its one output
    except BundleError as error:
        sys.exit(f"what a kill left cannot be used: {error}")
