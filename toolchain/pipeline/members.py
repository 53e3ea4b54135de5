"""Building several targets side by side: processes that fill one cache, which the run then goes through by itself.

    run ── what is in the cache already? ──► nothing to do: no process is started
     │
     ├─► process 1: target a, target c, ...   lower, quantize, compile, verify: into the cache
     ├─► process 2: target b, ...
     ▼
    the same targets again, from the cache, in the order asked for; and now timed, with nothing beside them

A process that crashes fails its own target and nothing else. Ctrl-C ends all of them with all they started.
"""

from __future__ import annotations

import queue
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack.runtime.environment import usable_cores
from edgepack.targets.base import Target, targets
from edgepack.toolchain import errors
from edgepack.toolchain.errors import EdgepackError, ToolchainFailedError, UsageError
from edgepack.toolchain.pipeline import memory_bound
from edgepack.toolchain.pipeline.budget import Budget
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.contract import fault
from edgepack.toolchain.pipeline.hearing import Hearing
from edgepack.toolchain.pipeline.known import Known
from edgepack.toolchain.pipeline.making import build_part
from edgepack.toolchain.pipeline.member_process import Answers, MemberProcess
from edgepack.toolchain.pipeline.memory_bound import Bound, bound_of, free_bytes
from edgepack.toolchain.pipeline.variants import all_variants
from edgepack.toolchain.pipeline.workbench import NotKeptError, Workbench
from edgepack.toolchain.results import StageRecord

STAGE = "targets side by side"
_TICK_S = 0.5
_MIB = 1 << 20


def build(
    bench: Workbench,
    builders: Sequence[Builder],
    wanted: Sequence[Target],
    budget: Budget,
    jobs: int | None = None,
) -> Known:
    """Build in processes what of `wanted` is not in the cache, where that is more than one target.

    Args:
        bench: The run's tools.
        builders: Of all parts.
        wanted: The run's targets.
        budget: The run's time.
        jobs: The most processes; None: as many as cores. Memory may allow fewer.

    Returns:
        What failed or was turned down there; the rest is in the cache.

    Raises:
        UsageError: The request is wrong.
    """
    most = jobs or usable_cores()
    if most < 2 or len(wanted) < 2:  # noqa: PLR2004 - two are what "side by side" takes
        return Known()
    todo = [t for t in wanted if targets.found_anywhere(t.name) and not _kept(bench, builders, t, budget)]
    bound = bound_of(builders[0].folder)
    count = min(most, len(todo), bound.processes)
    if count < 2:  # noqa: PLR2004 - as above
        return Known()
    with tempfile.TemporaryDirectory(prefix="edgepack-members-") as scratch:
        return Members(bench, builders, budget, bound, count, Path(scratch)).run(todo)


def _kept(bench: Workbench, builders: Sequence[Builder], target: Target, budget: Budget) -> bool:
    """Whether every stage of a target is in the cache, or it fails without one."""
    bench.only_kept = True
    try:
        with bench.log.later():
            for built_for, builder in all_variants(builders, target):
                build_part(bench, builder, built_for, budget.turn(1), Known())
    except NotKeptError:
        return False
    except UsageError:
        raise
    except EdgepackError:
        return True  # the same again, where it is written down
    finally:
        bench.only_kept = False
    return True


class Members:
    """The processes of one run.

    Args:
        bench: The run's tools.
        builders: Of all parts.
        budget: The run's time.
        bound: The run's memory.
        count: How many processes.
        scratch: Folder for what they print.
    """

    def __init__(
        self,
        bench: Workbench,
        builders: Sequence[Builder],
        budget: Budget,
        bound: Bound,
        count: int,
        scratch: Path,
    ) -> None:
        self._bench, self._budget, self._bound, self._count = bench, budget, bound, count
        self._scratch = scratch
        self._setup = {
            "recipe": bench.recipe.model_dump(mode="json"),
            "cache": str(bench.cache.root),
            "cache_bytes": bench.cache.max_bytes,
            "program": str(builders[0].folder),
            "source": dict(builders[0].source),
            "run_id": bench.run_id,
            "cores": max(1, usable_cores() // count),
        }
        self._answers: Answers = queue.SimpleQueue()
        self._workers: list[MemberProcess] = []
        self._pending: list[Target] = []
        self._alone: set[str] = set()
        self._known = Known()
        self._hearing = Hearing(bench.log)
        self._peak = self._started = 0
        self._weighed = 0.0

    def run(self, todo: Sequence[Target]) -> Known:
        """Build all of `todo`; errors as of `build`."""
        self._pending = list(todo)
        begin = time.perf_counter()
        record = StageRecord(name=STAGE, seconds=0.0)
        self._bench.log.tell("begin", record)
        try:
            while self._pending or self._busy():
                self._dispatch()
                self._hear()
        except BaseException:
            self._bench.log.tell("left", record)
            raise
        finally:
            self._hearing.end()
            for worker in self._workers:
                worker.end()
        record.seconds = time.perf_counter() - begin
        record.detail = (
            f"{len(todo)} in {min(self._count, self._started)} processes, at most {self._peak / _MIB:.0f} MiB of the "
            f"{self._bound.free / _MIB:.0f} MiB that were free"
        )
        self._bench.log.stages.append(record)
        self._bench.log.tell("end", record)
        return self._known

    def _busy(self) -> list[MemberProcess]:
        return [worker for worker in self._workers if worker.target is not None]

    def _dispatch(self) -> None:
        """Give idle processes something to do, and start more while there is need and room."""
        while self._pending:
            busy = self._busy()
            alone = any(worker.target in self._alone for worker in busy)
            if alone or len(busy) >= self._count:
                return
            idle = next((worker for worker in self._workers if worker.target is None), None)
            target = self._next(busy, idle)
            if target is None:
                return
            worker = idle or self._start()
            self._pending.remove(target)
            share = self._budget.turn(-(-(len(self._pending) + 1) // self._count)).seconds
            worker.build(target.name, target.lower_key(), share, self._budget.total)

    def _next(self, busy: Sequence[MemberProcess], idle: MemberProcess | None) -> Target | None:
        """What comes next: first what no other process is lowering, for it would wait for that one's files."""
        if not busy:
            return next((t for t in self._pending if t.name not in self._alone), self._pending[0])
        lowered = {worker.lowering for worker in busy}
        mine = idle.lowering if idle else None

        def rank(target: Target) -> tuple[bool, bool]:
            key = target.lower_key()
            return key in lowered, key != mine

        together = [target for target in self._pending if target.name not in self._alone]
        return min(together, key=rank, default=None)

    def _start(self) -> MemberProcess:
        self._started += 1
        worker = MemberProcess(self._setup, self._answers, self._scratch / f"{self._started}.txt")
        self._workers.append(worker)
        return worker

    def _hear(self) -> None:
        if time.monotonic() - self._weighed > _TICK_S:
            self._weigh()
        try:
            worker, message = self._answers.get(timeout=_TICK_S)
        except queue.Empty:
            return
        if worker.ended:
            return
        if message is None:
            self._lost(worker)
        elif "event" in message:
            self._hearing.event(worker, message)
        else:
            self._done(worker, message)

    def _done(self, worker: MemberProcess, answer: Mapping[str, Any]) -> None:
        name = str(answer["done"])
        worker.target = None
        self._known.targets.add(name)
        for failure in answer["errors"]:
            error = error_of(name, failure)
            if isinstance(error, UsageError):
                raise error
            self._known.errors[name, failure["part"], failure["precision"]] = error
        for part, precision, reason in answer["not_built"]:
            self._known.not_built[name, part, precision] = reason

    def _lost(self, worker: MemberProcess) -> None:
        """A process is gone: its target failed, unless memory ran out and it may be tried alone."""
        words, name = worker.last_words(), worker.target
        self._workers.remove(worker)
        self._hearing.end(worker)
        worker.sweep()
        if name is None:
            return
        if worker.signal == signal.SIGKILL and self._busy() and name not in self._alone:
            self._again(name)
            return
        self._known.targets.add(name)
        self._known.errors[name, None, None] = ToolchainFailedError(
            f"The process that built it ended with {words}",
            where=name,
            todo="Build it alone, with --jobs 1, to see more",
        )

    def _weigh(self) -> None:
        """Note what is used; where too little is left, stop the youngest and build its target alone, later."""
        self._weighed = time.monotonic()
        busy = self._busy()
        self._peak = max(self._peak, sum(worker.resident() for worker in self._workers))
        if len(busy) > 1 and free_bytes() < memory_bound.RESERVE:
            worker = max(busy, key=lambda one: one.since)
            name = worker.target
            worker.end()
            self._workers.remove(worker)
            self._hearing.end(worker)
            self._again(str(name))

    def _again(self, name: str) -> None:
        self._alone.add(name)
        self._pending.append(targets.get(name)())
        self._bench.log.add_warning(
            f"{name}: the memory did not hold it beside other targets; it is built alone"
        )


def error_of(target: str, told: Mapping[str, Any]) -> EdgepackError:
    """The error that a process wrote down; anything that is none of edgepack's own is the target's fault."""
    if told["type"] is None:
        return fault(target, told["what"])
    kind: Any = getattr(errors, str(told["type"]), EdgepackError)
    return errors.rebuild(kind, told["what"], told["where"], told["todo"])
