"""`edgepack profile`: a bundle's artifacts on a device: checked there first, then measured."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.devices import shell
from edgepack.runtime.devices.device import Device, Run, opened
from edgepack.runtime.devices.preparing import prepared
from edgepack.toolchain import files
from edgepack.toolchain.answers import error_in, read_answer
from edgepack.toolchain.devices import judging, subject
from edgepack.toolchain.devices.measured import measured
from edgepack.toolchain.devices.results import Cluster, DeviceFacts, DeviceProfile, Measured, TargetProfile
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.devices.subject import Subject, gather, subjects
from edgepack.toolchain.errors import DeviceError, EdgepackError, ToolchainMissingError, rebuild
from edgepack.toolchain.results import Environment

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle
    from edgepack.toolchain.results import Parity

Tell = Callable[[str], object]
_CHECK_LIMIT_S = 1800.0
_REQUEST, _SCRIPT = "request.json", "run.sh"


def profile(  # noqa: PLR0913 - options of one call, all by keyword
    bundle: Bundle,
    address: str,
    settings: Settings,
    *,
    target: str | None = None,
    prepare: bool = False,
    python: str | None = None,
    workdir: str | None = None,
    ssh_config: Path | None = None,
    root: str = "/",
    tell: Tell = lambda _: None,
) -> DeviceProfile:
    """Profile a bundle's artifacts on a device.

    Args:
        bundle: From `edgepack.load`.
        address: As `runtime.devices.address.parse` takes it.
        settings: How long and where.
        target: Only this one.
        prepare: Fix the device's clocks before, as far as it allows, and restore them afterwards.
        python: The device's Python, with the runtime; "python3" unless told, here this process's own.
        workdir: edgepack's folder on the device.
        ssh_config: A configuration file for ssh.
        root: Where the device's /proc and /sys are.
        tell: Told in a sentence what happens.

    Raises:
        UsageError: The address, the target or the bundle is none.
        DeviceError: The device cannot be reached, or failed.
        GateError: Its outputs are not those of the bundle.
    """
    chosen, left = subjects(bundle, target)
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(opened(address, workdir=workdir, config=ssh_config, tell=tell))
        interpreter = python or _own_python(device)
        targets, facts, lost = [], None, 0
        notes = stack.enter_context(prepared(device)) if prepare else []
        for one in chosen:
            asked = _Asked(device, one, settings, interpreter, root)
            try:
                targets.append(asked.profile())
            except (KeyError, TypeError, ValueError) as error:
                raise DeviceError(
                    f"What came from the device is not what its runner writes: {type(error).__name__}",
                    where=address,
                    todo="Look at what else writes into edgepack's folder there",
                ) from error
            facts, lost = facts or asked.facts, lost + asked.links_lost
    assert facts is not None  # noqa: S101 - there is at least one subject
    return DeviceProfile(
        edgepack=metadata.version("edgepack"),
        bundle=str(bundle.path),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=_command(bundle, address, settings, target),
        settings=settings.as_json(),
        device=facts,
        targets=targets,
        left_out=left,
        links_lost=lost,
        notes=notes,
    )


class _Asked:
    """One target on one device."""

    def __init__(self, device: Device, one: Subject, settings: Settings, python: str, root: str) -> None:
        self._device, self._subject, self._settings = device, one, settings
        self._python, self._root = python, root
        self.links_lost = 0
        self.facts: DeviceFacts | None = None

    def profile(self) -> TargetProfile:
        """Check, judge, measure; each run on the device in a folder of its own."""
        with tempfile.TemporaryDirectory(prefix="edgepack-profile-") as name:
            folder = Path(name)
            wanted, own, named = gather(self._subject, folder)
            units = self._subject.units()
            for unit, artifact in zip(units, self._subject.artifacts, strict=False):
                unit["shapes"] = {k: list(v.shape) for k, v in subject.feed(self._subject, artifact).items()}
            request = {**named, **self._settings.as_json(), "root": self._root, "units": units}
            (folder / _REQUEST).write_text(json.dumps(request))
            own[_REQUEST] = folder / _REQUEST
            wanted[_SCRIPT] = shell.SCRIPTS / _SCRIPT
            with self._device.run() as run:
                sent = run.place(wanted, own)
                parity = self._check(run)
            with self._device.run() as run:
                run.place(wanted, own)
                found = self._measure(run, units)
            return TargetProfile(
                target=self._subject.target,
                precisions={artifact.part: artifact.precision for artifact in self._subject.artifacts},
                size_bytes=sum(artifact.size_bytes for artifact in self._subject.artifacts),
                sent_bytes=sum({**wanted, **own}[name].stat().st_size for name in sent),
                parity=parity,
                measured=found,
            )

    def _check(self, run: Run) -> dict[str, Parity]:
        self._device.tell(f"checking {self._subject.target} on the device")
        answer = self._answer(run, "check", _CHECK_LIMIT_S)
        self.facts = DeviceFacts(
            address=str(self._device.transport.address),
            system=self._device.system,
            environment=Environment(**answer["facts"]),
            clusters=[Cluster(**cluster) for cluster in answer["clusters"]],
        )
        outputs = {part: _fetched(run, facts) for part, facts in answer["outputs"].items()}
        return judging.judge(self._subject, outputs)

    def _measure(self, run: Run, units: list[dict[str, Any]]) -> list[Measured]:
        self._device.tell(f"measuring {self._subject.target} on the device")
        turns = len(units) * len(self._settings.plans)
        answer = self._answer(run, "measure", turns * self._settings.seconds)
        by_name = {unit["name"]: unit for unit in units}
        found = []
        for entry in answer["measured"]:
            samples = None if "skipped" in entry else _fetched(run, entry["samples"])
            found.append(measured(entry, by_name[entry["unit"]], samples, self._settings))
        return found

    def _answer(self, run: Run, what: str, limit_s: float) -> Mapping[str, Any]:
        """What the runner found; its own errors in their own class."""
        job = run.start(["sh", _SCRIPT, self._python, what, _REQUEST])
        try:
            answer = read_answer(job.wait(limit_s))
        except DeviceError as error:
            raise self._explained(error) from error
        except ValueError as error:
            raise DeviceError(f"The device's result cannot be read: {error}") from error
        finally:
            self.links_lost += job.links_lost
        failed = error_in(answer)
        if failed is None:
            return answer
        said = (shell.printable(text) if text else None for text in (failed.where, failed.todo))
        where, todo = said
        raise self._explained(rebuild(type(failed), shell.printable(failed.what), where, todo))

    def _explained(self, error: EdgepackError) -> EdgepackError:
        """A missing Python, numpy or runtime, said as the device's, with what installs it there."""
        address = str(self._device.transport.address)
        text = str(error)
        runtimes = {subject.facts_of(artifact).session for artifact in self._subject.artifacts}
        packages = " ".join(sorted({"litert": "ai-edge-litert"}.get(name, name) for name in runtimes))
        if "exit code 127" in text or "exit code 126" in text:
            return ToolchainMissingError(
                f"The device has no Python '{self._python}'",
                where=address,
                todo="Name one that has the runtime with --python",
            )
        if isinstance(error, ToolchainMissingError) or "ModuleNotFoundError" in text:
            return ToolchainMissingError(
                f"The device's Python '{self._python}' lacks what is needed to run {self._subject.target}: "
                f"{error.what}",
                where=address,
                todo=f"Run there: {self._python} -m pip install numpy {packages}; or name another with --python",
            )
        return error


def _own_python(device: Device) -> str:
    return sys.executable if device.transport.address.scheme == "local" else "python3"


def _fetched(run: Run, facts: Mapping[str, Any]) -> Path:
    """A file that the runner names beside its result, if it is the one that it hashed.

    Raises:
        DeviceError: It is another one.
    """
    name = str(facts["file"])
    if "/" in name or name.startswith("."):
        raise DeviceError(f"The device names a file that is not in the run's folder: {name!r}")
    target = run.here / name
    run.pull(name, target)
    if files.hash_file(target).sha256 != facts["sha256"]:
        raise DeviceError(
            f"The file {name} that arrived is not the one that the device hashed",
            todo="Check its disk and its cable",
        )
    return target


def _command(bundle: Bundle, address: str, settings: Settings, target: str | None) -> str:
    words = ["edgepack", "profile", str(bundle.path), "--device", address]
    words += ["--target", target] if target else []
    words += ["--preset", settings.preset] if settings.preset != "quick" else []
    words += ["--sweep"] if len(settings.plans) > 1 else []
    words += ["--threads", str(settings.threads)] if settings.threads != 1 else []
    return shlex.join(words)
