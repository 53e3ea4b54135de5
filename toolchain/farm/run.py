"""`edgepack farm`: bundles over a set of devices, several devices at once, one thing at a time on each."""

from __future__ import annotations

from importlib import metadata

from edgepack.toolchain import bundle as bundles
from edgepack.toolchain.farm.compare import judged
from edgepack.toolchain.farm.executors import base
from edgepack.toolchain.farm.plan import FarmPlan
from edgepack.toolchain.farm.results import FarmReport, FarmResult
from edgepack.toolchain.farm.store import Store
from edgepack.toolchain.farm.work import Tell, chains, now


def run(
    plan: FarmPlan, tell: Tell = lambda _: None, *, executor: str = base.LOCAL, cluster: str | None = None
) -> FarmReport:
    """Measure every bundle on every device, judge the figures, and keep them.

    A device that fails gives results without figures and keeps no other from its work. Figures are judged and
    written here alone, whoever measured them, and each as soon as it is there.

    Args:
        plan: From `plan.read`.
        tell: Told in a sentence what happens.
        executor: What does the work: "local" or "ray".
        cluster: Address of a Ray cluster; one of this machine's own unless named.

    Raises:
        UnknownNameError: No such executor.
        UsageError: A bundle is none, or the database cannot be used.
        ToolchainMissingError: The executor is not installed.
    """
    chosen = base.executors.get(executor)(cluster)
    opened = {name: bundles.load(folder) for name, folder in plan.bundles.items()}
    version = metadata.version("edgepack")
    created = now()
    results = []
    with Store(plan.database or "sqlite://") as store:
        number = store.begin(created, version)
        for _, found in chosen.run(plan, chains(plan), opened, tell):
            for one in found:
                for asked in _spread(one, store, number):
                    result = judged(asked, store.last_good(asked.key, number), plan.tolerance)
                    store.add(number, result)
                    results.append(result)
    devices, titles = list(plan.devices), list(plan.bundles)
    results.sort(key=lambda one: (devices.index(one.device), titles.index(one.bundle)))
    return FarmReport(
        run=number, created=created, edgepack=version, tolerance=plan.tolerance, results=results
    )


def _spread(one: FarmResult, store: Store, run: int) -> list[FarmResult]:
    """A failure once for every figure that there was the last time, so that each of them is missed."""
    if not one.error:
        return [one]
    had = store.had(one, run)
    names = ("target", "unit", "plan", "precision")
    return [one.model_copy(update={name: getattr(good, name) for name in names}) for good in had] or [one]
