"""Isolated environments: a vendor's toolchain that cannot, or shall not, share the interpreter of edgepack.

`edgepack setup TARGET` makes one from a lock file of this package, whose every line is an exact version with the
hashes of its wheels. It lies in the user's data folder (`EDGEPACK_ENVIRONMENTS` names another)::

    <root>/<name>/                            a virtual environment
                  edgepack-environment.json   written last: which lock file, which interpreter, which versions
    <root>/<name>.lock                        one process at a time changes it

What wheels do not carry, a language's runtime say, is a companion: the machine's own where it has one, else it lies in
the environment's folder too. What was interrupted is resumed: a distribution counts as installed when its RECORD, which
pip writes last, is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

from edgepack.toolchain.errors import ToolchainFailedError, ToolchainMissingError
from edgepack.toolchain.subprocesses import run_tool

ROOT_VARIABLE = "EDGEPACK_ENVIRONMENTS"
STAMP_FILE = "edgepack-environment.json"
STEP_LIMIT_S = 1800.0
"""Limit of one step, in seconds: a toolchain is hundreds of megabytes behind a slow line."""

State = Literal["absent", "unfinished", "outdated", "ready"]
Steps = Callable[[int, int, str], object]
_CHECK = """\
import subprocess, sys
command = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "check"]
done = subprocess.run(command, capture_output=True, text=True)
known = tuple(f" requires {name}, which is not installed." for name in sys.argv[1:])
wrong = [line for line in done.stdout.splitlines() if not (known and line.endswith(known))]
sys.exit("\\n".join([*wrong, done.stderr]) if done.returncode and (wrong or done.stderr.strip()) else 0)
"""
"""Fails with what `pip check` says of any other distribution than those that are named."""
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")


@dataclass(frozen=True)
class Pin:
    """One line of a lock file.

    Attributes:
        name: Distribution.
        version: Its exact version.
        line: The whole line with its hashes, as pip takes it.
    """

    name: str
    version: str
    line: str


class Companion(Protocol):
    """What a toolchain needs beside its wheels: a language's runtime, say."""

    @property
    def name(self) -> str:
        """A word, under which `IsolatedEnvironment.version` tells its version."""

    def version(self, folder: Path) -> str | None:
        """Version of what the machine has, or the environment `folder` holds; None where neither does."""

    def put(self, folder: Path, time_limit_s: float) -> None:
        """Bring it into the environment `folder`; ToolchainFailedError where that cannot be."""


@dataclass(frozen=True)
class IsolatedEnvironment:
    """A virtual environment of its own for one toolchain.

    Attributes:
        name: Folder name under the root.
        lock: File of exact versions and hashes.
        pythons: Lowest and highest minor version of Python 3 that the lock file has wheels for.
        left_out: Distributions that others in it say they need, and that are not installed on purpose.
        companions: What it needs beside them.
    """

    name: str
    lock: Path
    pythons: tuple[int, int]
    left_out: tuple[str, ...] = ()
    companions: tuple[Companion, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is, or would be."""
        return root() / self.name

    @property
    def interpreter(self) -> Path:
        """Its Python, which exists once `state` is "ready"."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def state(self) -> State:
        """Whether it is there, whole, and made from today's lock file."""
        if not self.folder.is_dir():
            return "absent"
        stamp = self._stamp()
        if stamp is None or not self.interpreter.is_file():
            return "unfinished"
        return "ready" if stamp.get("lock") == self._digest() else "outdated"

    def version(self, distribution: str) -> str | None:
        """Version of a distribution in it; None unless the environment is ready."""
        if self.state() != "ready":
            return None
        found = (self._stamp() or {}).get("versions", {}).get(distribution)
        if found is None:  # what is beside the wheels may be the machine's, and change
            found = next(
                (one.version(self.folder) for one in self.companions if one.name == distribution), None
            )
        return None if found is None else str(found)

    def check(self, command: str) -> None:
        """Raise ToolchainMissingError, with the command that makes it, unless it is ready."""
        state = self.state()
        if state != "ready":
            raise ToolchainMissingError(
                f"The isolated environment '{self.name}' is {state}",
                where=str(self.folder),
                todo=f"Run: {command}",
            )

    def pins(self) -> list[Pin]:
        """The lock file's lines, in order.

        Raises:
            ToolchainFailedError: A line names no exact version or no hash: nothing unlocked is installed.
        """
        text = self.lock.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines()]
        pins = []
        for line in (line for line in lines if line and not line.startswith("#")):
            found = _PINNED.match(line)
            if found is None or "--hash=sha256:" not in line:
                raise ToolchainFailedError(f"The line '{line[:80]}' is not locked", where=str(self.lock))
            pins.append(Pin(found["name"], found["version"], " ".join(line.split())))
        return pins

    def set_up(self, tell: Steps = lambda *_: None, *, time_limit_s: float = STEP_LIMIT_S) -> int:
        """Make it, or finish it, or bring it up to the lock file.

        Args:
            tell: Called with (steps done, steps in all, what is done now).
            time_limit_s: Limit of one step, in seconds.

        Returns:
            How many distributions and companions were installed now; 0 when everything was there.

        Raises:
            ToolchainFailedError: This Python is none that the lock file has wheels for, venv or pip failed, or a
                companion cannot be had.
        """
        self._check_python()
        pins = self.pins()
        total = len(pins) + len(self.companions) + 2
        with self._held():
            if self.state() == "ready" and all(map(self._has, pins)) and not self._alone():
                return 0  # untouched: others may be using it
            tell(0, total, "virtual environment")
            (self.folder / STAMP_FILE).unlink(missing_ok=True)
            self._virtual(time_limit_s)
            installed = 0
            for number, pin in enumerate(pins, 1):
                tell(number, total, f"{pin.name} {pin.version}")
                if not self._has(pin):
                    self._install(pin, time_limit_s)
                    installed += 1
            for number, one in enumerate(self.companions, len(pins) + 1):
                tell(number, total, one.name)
                if one in self._alone():
                    one.put(self.folder, time_limit_s)
                    installed += 1
            tell(total - 1, total, "check")
            self._consistent(time_limit_s)
            self._write_stamp(pins)
            tell(total, total, "ready")
        return installed

    def remove(self) -> bool:
        """Delete it; whether there was anything."""
        if not self.folder.exists():
            return False
        with self._held():
            (self.folder / STAMP_FILE).unlink(missing_ok=True)
            shutil.rmtree(self.folder)
        return True

    def _check_python(self) -> None:
        low, high = self.pythons
        if not (3, low) <= sys.version_info[:2] <= (3, high):
            raise ToolchainFailedError(
                f"The environment '{self.name}' needs Python 3.{low} to 3.{high}, and this is "
                f"{sys.version_info[0]}.{sys.version_info[1]}",
                todo="Install edgepack for one of those",
            )

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        from filelock import FileLock

        root().mkdir(parents=True, exist_ok=True)
        with FileLock(root() / f"{self.name}.lock"):
            yield

    def _virtual(self, time_limit_s: float) -> None:
        """A virtual environment of this Python; one of another version is made anew."""
        config = self.folder / "pyvenv.cfg"
        here = f"version = {'.'.join(map(str, sys.version_info[:3]))}"
        if self.interpreter.is_file() and config.is_file() and here in config.read_text(encoding="utf-8"):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        run_tool(
            "venv",
            [sys.executable, "-m", "venv", self.folder],
            time_limit_s=time_limit_s,
            cwd=root(),
            expect=[config],
        )

    def _has(self, pin: Pin) -> bool:
        return any(one.version == pin.version and one.read_text("RECORD") for one in self._found(pin))

    def _alone(self) -> list[Companion]:
        """The companions that are missing."""
        return [one for one in self.companions if one.version(self.folder) is None]

    def _found(self, pin: Pin) -> list[metadata.Distribution]:
        sites = [*self.folder.glob("lib/python3.*/site-packages"), *self.folder.glob("Lib/site-packages")]
        return list(metadata.distributions(name=pin.name, path=[str(site) for site in sites]))

    def _install(self, pin: Pin, time_limit_s: float) -> None:
        for half in self._found(pin):
            if not half.read_text("RECORD"):  # pip refuses to replace what it did not finish
                shutil.rmtree(
                    str(half.locate_file(f"{half.name}-{half.version}.dist-info")), ignore_errors=True
                )
        with tempfile.TemporaryDirectory(prefix="edgepack-setup-") as scratch:
            file = Path(scratch) / "requirement.txt"
            file.write_text(pin.line, encoding="utf-8")
            options = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--quiet")
            self._pip("install", *options, "-r", str(file), time_limit_s=time_limit_s)

    def _consistent(self, time_limit_s: float) -> None:
        """`pip check`, but for what is left out on purpose."""
        command = [str(self.interpreter), "-I", "-c", _CHECK, *self.left_out]
        run_tool("pip check", command, time_limit_s=time_limit_s, cwd=self.folder)

    def _pip(self, *words: str, time_limit_s: float) -> None:
        quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        command = [str(self.interpreter), "-I", "-m", "pip", *words]
        run_tool("pip", command, time_limit_s=time_limit_s, cwd=self.folder, env=quiet)

    def _write_stamp(self, pins: list[Pin]) -> None:
        stamp = {
            "lock": self._digest(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "versions": {pin.name: pin.version for pin in pins},
        }
        temporary = self.folder / f"{STAMP_FILE}.part"
        temporary.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        temporary.replace(self.folder / STAMP_FILE)

    def _stamp(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / STAMP_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _digest(self) -> str:
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()


def root() -> Path:
    """Folder of all isolated environments: the user's data folder, or what `EDGEPACK_ENVIRONMENTS` names."""
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("edgepack", appauthor=False)) / "environments"
