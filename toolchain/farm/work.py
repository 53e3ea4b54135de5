"""One piece of a farm's work: a bundle on a device. It needs nothing but what it is given, wherever it is done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import bundle as bundles
from edgepack.toolchain.devices import profiling
from edgepack.toolchain.devices.asking_native import Native
from edgepack.toolchain.devices.counted import instructions
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.farm.plan import FarmDevice, FarmPlan
from edgepack.toolchain.farm.results import FarmResult

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle
    from edgepack.toolchain.devices.results import DeviceProfile

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Task:
    """A bundle on a device.

    Attributes:
        device: Its name in the plan.
        bundle: Its name in the plan.
        target: Only this one; None for all that run there.
    """

    device: str
    bundle: str
    target: str | None = None

    def __str__(self) -> str:
        return f"{self.bundle}{f' for {self.target}' if self.target else ''} on {self.device}"


def chains(plan: FarmPlan) -> list[list[Task]]:
    """All work, a row of tasks for every device: those of one device are done one after the other."""
    every: list[str | None] = [None]
    targets = plan.targets or every
    return [
        [Task(device, title, one) for title in plan.bundles for one in targets] for device in plan.devices
    ]


def done(plan: FarmPlan, task: Task, bundle: Bundle, tell: Tell = lambda _: None) -> list[FarmResult]:
    """Do a task; figures that nobody has judged yet, or one result that says why there are none.

    Args:
        plan: Where devices are and how they are measured.
        task: Which.
        bundle: Its bundle, opened where this runs.
        tell: Told in a sentence what happens.
    """
    base = _base(plan, task, fingerprint(bundle.path))
    tell(f"{task.bundle}{f' for {task.target}' if task.target else ''}")
    try:
        return list(_results(base, _profile(plan, plan.devices[task.device], bundle, task.target, tell)))
    except EdgepackError as error:
        tell(f"{task.bundle}: {error.what}")
        return [_without(base, task, str(error))]


def lost(plan: FarmPlan, task: Task, manifest: str, why: str) -> list[FarmResult]:
    """What stands for a task that nobody could do; `manifest` is its bundle's fingerprint."""
    return [_without(_base(plan, task, manifest), task, why)]


def fingerprint(bundle: Path) -> str:
    """SHA-256 of a bundle's manifest, which holds those of its files."""
    return hashlib.sha256((bundle / bundles.MANIFEST).read_bytes()).hexdigest()


def now() -> str:
    """UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _base(plan: FarmPlan, task: Task, manifest: str) -> FarmResult:
    return FarmResult(
        device=task.device,
        address=plan.devices[task.device].address,
        bundle=task.bundle,
        settings=_settings(plan),
        fingerprint=manifest,
    )


def _without(base: FarmResult, task: Task, why: str) -> FarmResult:
    return base.model_copy(update={"target": task.target or "", "error": why, "created": now()})


def _profile(
    plan: FarmPlan, device: FarmDevice, bundle: Bundle, target: str | None, tell: Tell
) -> DeviceProfile:
    return profiling.profile(
        bundle,
        device.address,
        plan.settings(),
        target=target,
        prepare=device.prepare,
        runner=device.runner,
        python=device.python,
        native=Native(device.onnxruntime, device.ndk),
        workdir=device.workdir,
        ssh_config=Path(device.ssh_config) if device.ssh_config else None,
        tell=tell,
    )


def _results(base: FarmResult, found: DeviceProfile) -> Iterator[FarmResult]:
    environment = found.device.environment
    for target in found.targets:
        for one in target.measured:
            latency, parity = one.latency, target.parity.get(one.unit)
            if latency is None and not one.emulated:
                continue
            facts = {} if latency is None else latency.model_dump(
                include={
                    "p50_ms", "ci_low_ms", "ci_high_ms", "p90_ms", "p99_ms", "samples", "first_run_ms", "load_ms",
                }
            )  # fmt: skip
            yield base.model_copy(
                update={
                    **facts,
                    "target": target.target,
                    "unit": one.unit,
                    "plan": one.plan,
                    "precision": target.precisions.get(one.unit, ""),
                    "cpu_model": environment.cpu_model,
                    "emulated": found.device.emulated or "",
                    "instructions": instructions(one),
                    "system": found.device.system,
                    "runtime": ", ".join(
                        f"{name} {version}"
                        for name, version in environment.packages.items()
                        if name in {"onnxruntime", "ai-edge-litert"}
                    ),
                    "peak_bytes": one.memory.peak_bytes if one.memory else None,
                    "size_bytes": target.size_bytes,
                    "cosine": parity.cosine if parity else None,
                    "created": now(),
                }
            )


def _settings(plan: FarmPlan) -> str:
    asked = plan.settings()
    return f"{asked.scenario or asked.preset}, {asked.threads} threads, {asked.min_seconds:g} s"
