"""A farm's work done by this process: a thread for every device."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.farm.executors.base import LOCAL, Executor, executors
from edgepack.toolchain.farm.plan import FarmPlan
from edgepack.toolchain.farm.results import FarmResult
from edgepack.toolchain.farm.work import Task, Tell, done

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle

_MOST_AT_ONCE = 16


@executors.register(LOCAL)
class LocalExecutor(Executor):
    """Threads: measuring is waiting for devices."""

    def __init__(self, cluster: str | None = None) -> None:
        if cluster is not None:
            raise UsageError(
                "A cluster does no work unless it is asked to",
                where=f"--cluster {cluster}",
                todo="Add --executor ray",
            )
        super().__init__(cluster)

    def run(
        self, plan: FarmPlan, chains: Sequence[Sequence[Task]], bundles: Mapping[str, Bundle], tell: Tell
    ) -> Iterator[tuple[Task, list[FarmResult]]]:
        found: queue.SimpleQueue[tuple[Task, list[FarmResult]] | None] = queue.SimpleQueue()

        def work(chain: Sequence[Task]) -> None:
            try:
                for task in chain:
                    say = lambda said, name=task.device: tell(f"{name}: {said}")  # noqa: E731
                    found.put((task, done(plan, task, bundles[task.bundle], say)))
            finally:
                found.put(None)

        pool = ThreadPoolExecutor(min(len(chains), _MOST_AT_ONCE), "edgepack-farm")
        try:
            working = [pool.submit(work, chain) for chain in chains]
            ended = 0
            while ended < len(working):
                one = found.get()
                if one is None:
                    ended += 1
                else:
                    yield one
            for future in working:
                future.result()  # a fault of edgepack's own is raised here
        finally:
            pool.shutdown(cancel_futures=True)
