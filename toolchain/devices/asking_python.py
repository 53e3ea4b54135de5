"""Asking by the device's own Python: the archive of `runtime/devices/runner`, and requests in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack.runtime.devices import shell
from edgepack.runtime.devices.device import Device, Run
from edgepack.runtime.devices.native import build
from edgepack.toolchain.answers import error_in, read_answer
from edgepack.toolchain.devices import judging, subject
from edgepack.toolchain.devices.asking import (
    CHECK_LIMIT_S,
    Asking,
    Files,
    Outputs,
    fetched,
    uses_native_operators,
)
from edgepack.toolchain.devices.measured import measured
from edgepack.toolchain.devices.results import Cluster, DeviceFacts, Measured
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.devices.subject import Subject, gather
from edgepack.toolchain.errors import DeviceError, EdgepackError, ToolchainMissingError, rebuild
from edgepack.toolchain.results import Environment

_REQUEST, _SCRIPT = "request.json", "run.sh"


class PythonAsking(Asking):
    """A target run by the device's Python.

    Args:
        device: Open.
        subject: The target.
        settings: How long and where.
        root: Where the device's /proc and /sys are.
        python: The device's Python, which has numpy and the runtime.
    """

    def __init__(self, device: Device, subject: Subject, settings: Settings, root: str, python: str) -> None:
        super().__init__(device, subject, settings, root)
        self._python = python
        self._gathered: tuple[Files, Files] | None = None

    def to_check(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> tuple[Files, Files]:
        wanted, own, named = gather(self.subject, folder)
        request = {**named, **self.settings.as_json(), "root": self.root, "units": list(units)}
        (folder / _REQUEST).write_text(json.dumps(request))
        own[_REQUEST] = folder / _REQUEST
        wanted[_SCRIPT] = shell.SCRIPTS / _SCRIPT
        self._bring_kernels(wanted)
        self._gathered = wanted, own
        return self._gathered

    def _bring_kernels(self, wanted: Files) -> None:
        """The library of native operators for the device's processor: without it, functions run in their place."""
        if not uses_native_operators(self.subject):
            return
        try:
            wanted[build.LIBRARY] = build.kernels(self.machine)
        except EdgepackError as error:
            self.device.tell(f"the native operators run as functions of others there, slowly: {error.what}")

    def to_measure(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> tuple[Files, Files]:
        # One request for both.
        return self._gathered or self.to_check(folder, units)

    def check(self, run: Run) -> Outputs:
        answer = self._answer(run, "check", CHECK_LIMIT_S)
        self.facts = DeviceFacts(
            address=str(self.device.transport.address),
            system=self.device.system,
            environment=Environment(**answer["facts"]),
            clusters=[Cluster(**cluster) for cluster in answer["clusters"]],
            emulated=self.device.transport.emulated,
        )
        return {
            part: judging.read_outputs(fetched(run, str(facts["file"]), facts["sha256"]), part)
            for part, facts in answer["outputs"].items()
        }

    def measure(self, run: Run, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        answer = self._answer(run, "measure", self.measure_limit_s)
        by_name = {unit["name"]: unit for unit in units}
        found = []
        for entry in answer["measured"]:
            facts = entry.get("samples")
            samples = None if "skipped" in entry else fetched(run, str(facts["file"]), facts["sha256"])
            found.append(measured(entry, by_name[entry["unit"]], samples, self.settings))
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
        address = str(self.device.transport.address)
        text = str(error)
        runtimes = {subject.facts_of(artifact).session for artifact in self.subject.artifacts}
        packages = " ".join(sorted({"litert": "ai-edge-litert"}.get(name, name) for name in runtimes))
        if "exit code 127" in text or "exit code 126" in text:
            return ToolchainMissingError(
                f"The device has no Python '{self._python}'",
                where=address,
                todo="Name one that has the runtime with --python",
            )
        if isinstance(error, ToolchainMissingError) or "ModuleNotFoundError" in text:
            return ToolchainMissingError(
                f"The device's Python '{self._python}' lacks what is needed to run {self.subject.target}: "
                f"{error.what}",
                where=address,
                todo=f"Run there: {self._python} -m pip install numpy {packages}; or name another with --python",
            )
        return error
