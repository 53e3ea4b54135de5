"""What does a farm's work, and the registry of those that can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgepack.toolchain.farm.plan import FarmPlan
from edgepack.toolchain.farm.results import FarmResult
from edgepack.toolchain.farm.work import Task, Tell
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle

LOCAL = "local"


class Executor(ABC):
    """Does tasks, several devices at once, and one task at a time on each.

    Args:
        cluster: Address of a cluster, for those that have one.

    Raises:
        UsageError: An address, and no cluster to be at it.
    """

    def __init__(self, cluster: str | None = None) -> None:
        self.cluster = cluster

    @abstractmethod
    def run(
        self, plan: FarmPlan, chains: Sequence[Sequence[Task]], bundles: Mapping[str, Bundle], tell: Tell
    ) -> Iterator[tuple[Task, list[FarmResult]]]:
        """Every task once with what came of it, in the order in which they end.

        Args:
            plan: Where devices are and how they are measured.
            chains: For every device its tasks, in their order.
            bundles: Opened here, by their names in the plan.
            tell: Told in a sentence what happens, from several threads.
        """


executors: Registry[type[Executor]] = Registry("executor", "edgepack.toolchain.farm.executors")
