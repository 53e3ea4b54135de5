"""`edgepack farm`: bundles over a set of devices, several devices at once, one thing at a time on each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import bundle as bundles
from edgepack.toolchain.devices import profiling
from edgepack.toolchain.devices.asking_native import Native
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.farm.compare import judged
from edgepack.toolchain.farm.plan import FarmDevice, FarmPlan
from edgepack.toolchain.farm.results import FarmReport, FarmResult
from edgepack.toolchain.farm.store import Store

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle
    from edgepack.toolchain.devices.results import DeviceProfile

Tell = Callable[[str], object]
_MOST_AT_ONCE = 16


def run(plan: FarmPlan, tell: Tell = lambda _: None) -> FarmReport:
    """Measure every bundle on every device, judge the figures, and keep them.

    A device that fails gives results without figures and keeps no other from its work.

    Args:
        plan: From `plan.read`.
        tell: Told in a sentence what happens.

    Raises:
        UsageError: A bundle is none, or the database cannot be used.
    """
    opened = {name: bundles.load(folder) for name, folder in plan.bundles.items()}
    version = metadata.version("edgepack")
    created = _now()
    with Store(plan.database or "sqlite://") as store:
        number = store.begin(created, version)

        def work(name: str) -> list[FarmResult]:
            found = []
            for title, bundle in opened.items():
                for one in _measured(plan, name, title, bundle, lambda said: tell(f"{name}: {said}")):
                    for asked in _spread(one, store, number):
                        result = judged(asked, store.last_good(asked.key, number), plan.tolerance)
                        store.add(number, result)
                        found.append(result)
            return found

        with ThreadPoolExecutor(min(len(plan.devices), _MOST_AT_ONCE), "edgepack-farm") as pool:
            results = [result for found in pool.map(work, plan.devices) for result in found]
    return FarmReport(
        run=number, created=created, edgepack=version, tolerance=plan.tolerance, results=results
    )


def _measured(plan: FarmPlan, name: str, title: str, bundle: Bundle, tell: Tell) -> Iterator[FarmResult]:
    """Results of one bundle on one device, judged by nobody yet."""
    device = plan.devices[name]
    base = FarmResult(
        device=name,
        address=device.address,
        bundle=title,
        settings=_settings(plan),
        fingerprint=hashlib.sha256((bundle.path / bundles.MANIFEST).read_bytes()).hexdigest(),
    )
    every: list[str | None] = [None]
    for target in plan.targets or every:
        tell(f"{title}{f' for {target}' if target else ''}")
        try:
            found = _profile(plan, device, bundle, target, tell)
        except EdgepackError as error:
            tell(f"{title}: {error.what}")
            update = {"target": target or "", "error": str(error), "created": _now()}
            yield base.model_copy(update=update)
            continue
        yield from _results(base, found)


def _spread(one: FarmResult, store: Store, run: int) -> list[FarmResult]:
    """A failure once for every figure that there was the last time, so that each of them is missed."""
    if not one.error:
        return [one]
    had = store.had(one, run)
    names = ("target", "unit", "plan", "precision")
    return [one.model_copy(update={name: getattr(good, name) for name in names}) for good in had] or [one]


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
            if latency is None:
                continue
            facts = latency.model_dump(
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
                    "system": found.device.system,
                    "runtime": ", ".join(
                        f"{name} {version}"
                        for name, version in environment.packages.items()
                        if name in {"onnxruntime", "ai-edge-litert"}
                    ),
                    "peak_bytes": one.memory.peak_bytes if one.memory else None,
                    "size_bytes": target.size_bytes,
                    "cosine": parity.cosine if parity else None,
                    "created": _now(),
                }
            )


def _settings(plan: FarmPlan) -> str:
    asked = plan.settings()
    return f"{asked.preset}, {asked.threads} threads, {asked.min_seconds:g} s"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
