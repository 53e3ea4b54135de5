"""A farm's work done by a Ray cluster: one of this machine, or a team's, whose workers reach the devices.

A task changes nothing but its device: it opens the bundle, measures, and returns figures. Everything that lasts
(verdicts, the database, the report) is made by the one process that asked, once for every task that came back. So
a worker that dies takes nothing with it and leaves nothing half-written: its task is done again by another, and what
the dead one had begun on the device is removed when the device is opened the next time.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import bundle as opening
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError, EdgepackError, ToolchainMissingError
from edgepack.toolchain.farm.executors._cluster import started
from edgepack.toolchain.farm.executors.base import Executor, executors
from edgepack.toolchain.farm.plan import FarmPlan
from edgepack.toolchain.farm.results import FarmResult
from edgepack.toolchain.farm.work import Task, Tell, done, fingerprint, lost

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle

_TRIES = 3
"""Workers that may die over one task."""
_PROCESSORS = {"local": 1.0, "board": 1.0}
_WAITING = 0.25
"""Share of a processor of a worker that waits for a device elsewhere; those of `_PROCESSORS` are this machine's."""


@executors.register("ray")
class RayExecutor(Executor):
    """Ray's workers, one for each device at a time.

    Raises:
        ToolchainMissingError: Ray is not installed.
    """

    def __init__(self, cluster: str | None = None) -> None:
        # Looked up and not imported: Ray reads the environment that `_cluster` sets when it is.
        if find_spec("ray") is None:
            raise ToolchainMissingError("Ray is not installed", todo="Run: pip install 'edgepack[farm-ray]'")
        super().__init__(cluster)

    def run(
        self, plan: FarmPlan, chains: Sequence[Sequence[Task]], bundles: Mapping[str, Bundle], tell: Tell
    ) -> Iterator[tuple[Task, list[FarmResult]]]:
        with contextlib.ExitStack() as stack:
            own = self.cluster is None
            tell(
                "starting a Ray cluster on this machine"
                if own
                else f"joining the Ray cluster at {self.cluster}"
            )
            address = stack.enter_context(started(os.cpu_count() or 1)) if own else self.cluster
            stack.enter_context(_joined(str(address)))
            yield from _Work(plan, chains, bundles, tell).results()


class _Work:
    """Tasks given out and taken back: of each device's row the next, when the one before it came back."""

    def __init__(
        self, plan: FarmPlan, chains: Sequence[Sequence[Task]], bundles: Mapping[str, Bundle], tell: Tell
    ) -> None:
        import ray

        self._ray: Any = ray
        self._plan, self._tell = plan, tell
        self._rows = {chain[0].device: list(chain) for chain in chains if chain}
        self._folders = {name: bundle.path.resolve() for name, bundle in bundles.items()}
        self._manifests = {name: fingerprint(folder) for name, folder in self._folders.items()}
        self._died: dict[Task, int] = {}
        # Whoever has the bundle in the same place needs no copy, which is made for others only.
        nodes: Any = ray.nodes  # which Ray leaves untyped
        elsewhere = len([node for node in nodes() if node["Alive"]]) > 1
        self._copies = {
            name: ray.put(_packed(folder)) if elsewhere else None for name, folder in self._folders.items()
        }
        # One try: whether there is another one is decided, told and counted here.
        self._measure = ray.remote(max_retries=0)(_measured)

    def results(self) -> Iterator[tuple[Task, list[FarmResult]]]:
        """Every task once."""
        pending = {self._given(row[0]): row[0] for row in self._rows.values()}
        while pending:
            (ready, *_), _ = self._ray.wait(list(pending), num_returns=1)
            task = pending.pop(ready)
            found = self._taken(ready, task)
            if found is None:
                pending[self._given(task)] = task
                continue
            row = self._rows[task.device]
            row.pop(0)
            if row:
                pending[self._given(row[0])] = row[0]
            yield task, found

    def _given(self, task: Task) -> Any:
        device = self._plan.devices[task.device]
        lacking = sorted(set(device.resources) - set(self._ray.cluster_resources()))
        if lacking:
            self._tell(f"{task.device}: waits for a worker that has {', '.join(lacking)}; none is there now")
        scheme = device.address.partition(":")[0]
        self._tell(f"{task.device}: {task.bundle}{f' for {task.target}' if task.target else ''}")
        options = {"num_cpus": _PROCESSORS.get(scheme, _WAITING), "resources": device.resources}
        folder = str(self._folders[task.bundle])
        # In a list, so that Ray fetches the copy only where it is asked for.
        return self._measure.options(**options).remote(
            self._plan, task, folder, self._manifests[task.bundle], [self._copies[task.bundle]]
        )

    def _taken(self, ready: Any, task: Task) -> list[FarmResult] | None:
        """What came back; None where the worker died and another one is to try."""
        died = self._ray.exceptions
        try:
            found: list[FarmResult] = self._ray.get(ready)
        except (died.WorkerCrashedError, died.NodeDiedError, died.OutOfMemoryError) as error:
            self._died[task] = self._died.get(task, 0) + 1
            if self._died[task] < _TRIES:
                self._tell(f"{task.device}: the worker died; {task.bundle} is given to another")
                return None
            why = f"{_TRIES} workers died over it; the last one: {type(error).__name__}"
            self._tell(f"{task.device}: {task.bundle}: {why}")
            return lost(self._plan, task, self._manifests[task.bundle], why)
        self._tell(f"{task.device}: {task.bundle} is done")
        return found


def _measured(
    plan: FarmPlan, task: Task, folder: str, manifest: str, copy: Sequence[Any]
) -> list[FarmResult]:
    """A task, in a worker's process; the bundle as it lies there, else a copy."""
    with contextlib.ExitStack() as stack:
        place = Path(folder)
        try:
            if not (place / opening.MANIFEST).is_file() or fingerprint(place) != manifest:
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgepack-farm-")))
                _unpack(copy[0], place)
            bundle = opening.load(place)
        except EdgepackError as error:
            return lost(plan, task, manifest, str(error))
        return done(plan, task, bundle)


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, arcname=".")
    return packed.getvalue()


def _unpack(copy: Any, place: Path) -> None:
    import ray

    if copy is None:
        raise DeviceError("A worker of the cluster does not have the bundle", todo="Start the farm again")
    with (
        files.storage_errors("The bundle cannot be unpacked", place, "Make room on the worker"),
        tarfile.open(fileobj=io.BytesIO(ray.get(copy))) as archive,
    ):
        archive.extractall(place, filter="data")


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    """This process as a member of a cluster.

    Raises:
        DeviceError: There is none at the address, or it refuses.
    """
    import ray

    if ray.is_initialized():  # type: ignore[no-untyped-call,unused-ignore]
        yield  # the caller's own; it stays
        return
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:
        raise DeviceError(
            f"The Ray cluster cannot be joined: {str(error).strip().splitlines()[0] if str(error) else error!r}",
            where=address,
            todo="Check its address, that it runs the same Ray and Python, and RAY_AUTH_TOKEN where it asks for one",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
