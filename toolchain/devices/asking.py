"""One target on one device: files there, outputs checked, then times; how, is for the two kinds of runners."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.devices.device import Device, Run
from edgepack.runtime.kernels._domains import imported_domains
from edgepack.toolchain import files
from edgepack.toolchain.devices import host, judging, subject
from edgepack.toolchain.devices.results import DeviceFacts, Measured, TargetProfile
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.devices.subject import Subject
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.native_operators import DOMAIN

if TYPE_CHECKING:
    import numpy as np

CHECK_LIMIT_S = 1800.0
Files = dict[str, Path]
Outputs = Mapping[str, "Sequence[Mapping[str, np.ndarray]]"]


class Asking(ABC):
    """What is asked of a device about one target.

    Args:
        device: Open.
        subject: The target.
        settings: How long and where.
        root: Where the device's /proc and /sys are.
    """

    def __init__(self, device: Device, subject: Subject, settings: Settings, root: str) -> None:
        self.device, self.subject, self.settings, self.root = device, subject, settings, root
        self.links_lost = 0
        self.facts: DeviceFacts | None = None

    def profile(self) -> TargetProfile:
        """Check, judge, measure; each run on the device in a folder of its own.

        Raises:
            DeviceError: The device failed.
            GateError: Its outputs are not those of the bundle.
        """
        one = self.subject
        with tempfile.TemporaryDirectory(prefix="edgepack-profile-") as name:
            folder = Path(name)
            units = one.units()
            for unit, artifact in zip(units, one.artifacts, strict=False):
                unit["shapes"] = {k: list(v.shape) for k, v in subject.feed(one, artifact).items()}
            wanted, own = self.to_check(folder, units)
            with self.device.run() as run:
                sent = run.place(wanted, own)
                sent_bytes = sum({**wanted, **own}[name].stat().st_size for name in sent)
                self.device.tell(f"checking {one.target} on the device")
                outputs = self.check(run)
                parity = judging.judge(one, outputs)
            beside = host.agreement(one, outputs) if self.emulated else {}
            found = self._counted(folder, units) if self.emulated else self._measured(folder, units)
            return TargetProfile(
                target=one.target,
                precisions={artifact.part: artifact.precision for artifact in one.artifacts},
                size_bytes=sum(artifact.size_bytes for artifact in one.artifacts),
                sent_bytes=sent_bytes,
                parity=parity,
                host=beside,
                measured=found,
            )

    def _measured(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        wanted, own = self.to_measure(folder, units)
        with self.device.run() as run:
            run.place(wanted, own)
            self.device.tell(f"measuring {self.subject.target} on the device")
            return self.measure(run, units)

    def _counted(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        """What an emulator gives: no times, but instructions, or why there are none."""
        why = self.device.transport.uncounted or self.uncountable
        if why:
            return [Measured(unit=unit["name"], plan="as-is", emulated=True, skipped=why) for unit in units]
        wanted, own = self.to_measure(folder, units)
        with self.device.run() as run:
            run.place(wanted, own)
            self.device.tell(f"counting the instructions of {self.subject.target} in the emulator")
            return self.count(run, units)

    @abstractmethod
    def to_check(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> tuple[Files, Files]:
        """Files for the check by their names there: those that the device keeps, and those of this run alone."""

    @abstractmethod
    def to_measure(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> tuple[Files, Files]:
        """The same for the measurement."""

    @abstractmethod
    def check(self, run: Run) -> Outputs:
        """Outputs of the recorded calls, by part; sets `facts`."""

    @abstractmethod
    def measure(self, run: Run, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        """Every unit on every plan."""

    def count(self, run: Run, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        """Executed instructions of every unit, on an emulated device, where `uncountable` says nothing against it."""
        raise NotImplementedError

    @property
    def uncountable(self) -> str:
        """Why this kind of runner cannot count instructions; empty where it can."""
        return "the runner in Python sets no marks for the emulator; --runner native does"

    @property
    def emulated(self) -> bool:
        """Whether the device is none: then nothing is timed."""
        return self.device.transport.emulated is not None

    @property
    def machine(self) -> str:
        """The device's processor as `uname -m` names it."""
        return self.device.system.rpartition(" ")[2]

    @property
    def measure_limit_s(self) -> float:
        """Seconds after which the measurement is ended on the device."""
        return len(self.subject.units()) * len(self.settings.plans) * self.settings.seconds


def uses_native_operators(one: Subject) -> bool:
    """Whether a model of the target has operators of edgepack's own."""
    models = [one.bundle.file(subject.facts_of(artifact).file) for artifact in one.artifacts]
    return any(DOMAIN in imported_domains(model) for model in models)


def fetched(run: Run, name: str, sha256: str) -> Path:
    """A file that the runner names beside its result, if it is the one that was hashed there.

    Raises:
        DeviceError: It is another one.
    """
    if "/" in name or name.startswith("."):
        raise DeviceError(f"The device names a file that is not in the run's folder: {name!r}")
    target = run.here / name
    run.pull(name, target)
    if files.hash_file(target).sha256 != sha256:
        raise DeviceError(
            f"The file {name} that arrived is not the one that the device hashed",
            todo="Check its disk and its cable",
        )
    return target
