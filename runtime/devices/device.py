"""A device as the rest of edgepack sees it: one user at a time here, runs in folders of their own.

::

    with opened("ssh://pi@board") as device, device.run() as run:
        run.place({"main.onnx": path})
        result = run.start(["python3", "runner.pyz", "request.json"]).wait(600)

Two locks keep measurements apart. The one here lets one process of this machine at a time use the device, its
sending included. The one on the device (`flock`, in job.sh) lets one run at a time be on the processor,
whichever machine started it; the kernel gives it back when the run ends, however it ends.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgepack.runtime.devices import store
from edgepack.runtime.devices.address import Address
from edgepack.runtime.devices.base import SHORT_S, Transport
from edgepack.runtime.devices.job import PATIENCE_S, Job
from edgepack.runtime.devices.opening import transport as transport_to
from edgepack.runtime.devices.shell import Answer
from edgepack.toolchain import files
from edgepack.toolchain.cache import default_root
from edgepack.toolchain.errors import DeviceError, LinkLostError, UsageError
from edgepack.toolchain.presence import file_lock

Tell = Callable[[str], object]
WAIT_S = 3600.0
_LEAST_TOOLS = ({"sha256sum", "shasum"}, {"setsid", "nohup"})


@dataclass(frozen=True)
class Device:
    """An open device.

    Attributes:
        transport: The way there.
        base: edgepack's folder on it.
        system: Kernel, release and machine ("Linux 6.1.0 aarch64").
        tools: Those programs that matter here and that it has.
        owner: Whose runs these are: one process of this machine at a time has this name.
        tell: Told in a sentence what happens.
    """

    transport: Transport
    base: str
    system: str
    tools: frozenset[str]
    owner: str
    tell: Tell = field(default=lambda _: None)

    @contextlib.contextmanager
    def run(self) -> Iterator[Run]:
        """A new folder on the device, removed at the end, whatever happens."""
        # Digits and hyphens only: it is part of paths, and sorts by time.
        number = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(6)}"
        with tempfile.TemporaryDirectory(prefix="edgepack-run-") as here:
            run = Run(self, number, Path(here))
            run.insist("begin", self.owner, what="A folder for the run cannot be made")
            try:
                yield run
            finally:
                run.remove()


@dataclass
class Run:
    """A folder on the device for one run.

    Attributes:
        device: Where.
        number: Its name there.
        here: A folder of this machine that lives as long.
    """

    device: Device
    number: str
    here: Path
    _jobs: list[Job] = field(default_factory=list)

    @property
    def transport(self) -> Transport:
        """The way to the device."""
        return self.device.transport

    @property
    def folder(self) -> str:
        """The run's folder on the device."""
        return f"{self.device.base}/runs/{self.number}"

    def ask(self, script: str, *words: str, limit_s: float = SHORT_S) -> Answer:
        """Run a script of scripts/ that takes edgepack's folder and the run's number first."""
        return self.transport.run(script, self.device.base, self.number, *words, limit_s=limit_s)

    def insist(self, script: str, *words: str, what: str) -> str:
        """The same, where an exit code other than 0 is an error; returns the output."""
        answer = self.ask(script, *words)
        if answer.code != 0:
            raise DeviceError(
                f"{what}: {answer.stderr or f'exit code {answer.code}'}", where=str(self.transport.address)
            )
        return answer.stdout

    def place(self, wanted: Mapping[str, Path], own: Mapping[str, Path] | None = None) -> set[str]:
        """Put files into the run's folder.

        Args:
            wanted: Name there (a relative POSIX path) -> file here; the device keeps them for runs to come.
            own: The same for files that it does not keep.

        Returns:
            The names that had to be sent; the others, of `wanted`, were on the device.

        Raises:
            DeviceError: A file cannot be sent or placed.
        """
        hashed = {name: (files.hash_file(file).sha256, file) for name, file in wanted.items()}
        where = (self.transport, self.device.base, self.number)
        sent = store.place(*where, hashed, self.device.tell)
        for name, file in (own or {}).items():
            store.send_own(*where, files.hash_file(file).sha256, file, name)
        return {name for name, (sha256, _) in hashed.items() if sha256 in sent} | set(own or {})

    def start(self, words: Sequence[str], *, patience_s: float = PATIENCE_S) -> Job:
        """Start a command in the run's folder; it must write `result.json` there."""
        job = Job(self, tuple(words), patience_s=patience_s, tell=self.device.tell)
        self._jobs.append(job)
        return job

    def pull(self, name: str, target: Path) -> None:
        """Fetch a file of the run's folder; once more after a broken link.

        Raises:
            DeviceError: It cannot be fetched.
        """
        try:
            self.transport.pull(f"{self.folder}/{name}", target)
        except LinkLostError:
            self.transport.reconnect()
            self.transport.pull(f"{self.folder}/{name}", target)

    def remove(self) -> None:
        """End what still runs and remove the folder; what cannot be removed is told, not raised."""
        for job in self._jobs:
            job.stop()
        try:
            self.insist("remove", what="it cannot be removed")
        except DeviceError as first:
            self.transport.reconnect()
            try:
                self.insist("remove", what="it cannot be removed")
            except DeviceError:
                self.device.tell(f"{self.folder} is left on {self.transport.address}: {first.what}")


@contextlib.contextmanager
def opened(
    address: Address | str,
    *,
    workdir: str | None = None,
    config: Path | None = None,
    wait_s: float = WAIT_S,
    tell: Tell = lambda _: None,
) -> Iterator[Device]:
    """A device, connected, locked against others of this machine, its folder made.

    Args:
        address: Or its text.
        workdir: edgepack's folder on the device; the transport's own place unless told.
        config: A configuration file for ssh.
        wait_s: Seconds to wait while another process here uses the device.
        tell: Told in a sentence what happens.

    Raises:
        UsageError: The address or the folder's name is none.
        ToolchainMissingError: ssh or adb is not installed.
        DeviceError: The device cannot be reached, refuses us, is in use, or lacks what is needed.
    """
    if workdir is not None and not (workdir.startswith("/") and workdir.isprintable()):
        raise UsageError("A folder on the device is an absolute path", where=f"--workdir {workdir!r}")
    transport = transport_to(address, config=config)
    with _alone(transport.address, wait_s, tell) as owner, transport:
        yield _prepared(transport, workdir or transport.default_workdir, owner, tell)


def _prepared(transport: Transport, workdir: str, owner: str, tell: Tell) -> Device:
    answer = transport.run("workspace", workdir, owner)
    facts = [line.partition(" ") for line in answer.stdout.splitlines()]
    base = next((value for key, _, value in facts if key == "base"), "")
    if answer.code != 0 or not base:
        raise DeviceError(
            f"edgepack's folder cannot be made on the device: {answer.stderr or 'it says nothing'}",
            where=f"{transport.address}, {workdir or 'the cache folder'}",
            todo="Name a folder that may be written with --workdir",
        )
    tools = frozenset(value for key, _, value in facts if key == "tool")
    for needed in _LEAST_TOOLS:
        if not tools & needed:
            raise DeviceError(
                f"The device has none of the programs {', '.join(sorted(needed))}",
                where=str(transport.address),
                todo="Install coreutils, busybox or toybox there",
            )
    if "flock" not in tools:
        tell("the device has no flock: runs that other machines start there are not kept apart")
    for key, _, number in facts:
        if key == "removed":
            tell(f"removed what a process that died had left on the device: run {number}")
    system = next((value for key, _, value in facts if key == "system"), "unknown")
    return Device(transport, base, system, tools, owner, tell)


@contextlib.contextmanager
def _alone(address: Address, wait_s: float, tell: Tell) -> Iterator[str]:
    """One process of this machine at a time; the system unlocks the file when a process dies.

    Yields:
        The name of whoever holds this lock: another for every address, machine and folder of locks.
    """
    from filelock import Timeout

    folder = default_root() / "devices"
    with files.storage_errors(
        "The device cannot be locked", folder, "Name another folder with EDGEPACK_CACHE"
    ):
        folder.mkdir(parents=True, exist_ok=True)
    lock = file_lock(folder / f"{files.digest(str(address))[:16]}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        tell(f"another process uses {address}; waiting")
        try:
            lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise DeviceError(
                f"Another process has used the device for {wait_s:g} s", where=str(address), todo="Try later"
            ) from error
    try:
        yield files.digest(f"{_number_of(folder)} {platform.node()} {address}")[:32]
    finally:
        lock.release()


def _number_of(folder: Path) -> str:
    """A random number that belongs to a folder of locks."""
    place = folder / "number"
    if not place.is_file():
        # A rename: whoever finds the file finds all of it.
        beside = folder / f".{secrets.token_hex(8)}"
        beside.write_text(secrets.token_hex(16))
        beside.replace(place)
    return place.read_text()
