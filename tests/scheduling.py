"""Which tests share a process, and which begin first, when pytest-xdist runs them side by side (`make test`).

The tests of one file run in one process, because they share what their fixtures make. A file whose parameters
need nothing of one another says so with `pytest.mark.by_parameter`: there the tests of one parameter stay together
(what the first of them exports, the others take from the cache), and the parameters go wherever a core is free.

With n processes and units of known length, handing out the longest first ends at most 4/3 - 1/(3n) times as late
as the best order would (R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM Journal on Applied
Mathematics 17(2), 1969). A long unit that is begun last keeps one core busy while the others idle.

How long a unit takes is what it took: a run writes it where `--durations-to` says, as `make test` does into build/,
and `make durations` keeps that as tests/durations.json. Units that are not there are estimated.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

KEPT = Path(__file__).with_name("durations.json")
SHORTEST_KEPT_S = 1.0
SLOW_S, QUICK_S = 20.0, 0.3
"""A test that is marked slow, and one that is not, before they were measured."""


class Units:
    """Names of the work units of a checkout: "tests/a/test_b.py", or "tests/a/test_b.py[parameter]"."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_parameter: dict[str, bool] = {}

    def of(self, nodeid: str) -> str:
        """The unit that a test belongs to."""
        file, _, test = nodeid.partition("::")
        parameter = re.search(r"\[.*\]$", test, re.DOTALL)
        return file + parameter[0] if parameter and self._splits(file) else file

    def _splits(self, file: str) -> bool:
        """Whether a file names the mark. The process that hands out the work collects nothing, so it reads the text."""
        if file not in self._by_parameter:
            path = self._root / file
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            self._by_parameter[file] = re.search(r"\bmark\.by_parameter\b", text) is not None
        return self._by_parameter[file]


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Hands out units in the order of the collection, which `in_order` made, each to the next free process."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._units = Units(config.rootpath)
        config.option.loadscopereorder = False  # by the number of tests

    def _split_scope(self, nodeid: str) -> str:
        return self._units.of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        # One that replaces a crashed process is asked before it has collected, when two crash at once.
        if node in self.registered_collections:
            super()._reschedule(node)


def in_order(items: Sequence[pytest.Item], root: Path, known: Mapping[str, float]) -> list[pytest.Item]:
    """Tests by unit, the longest unit first, those of one unit as they were.

    Args:
        items: The collected tests.
        root: Of the checkout.
        known: Seconds that units took.
    """
    units = Units(root)
    together: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        together[units.of(item.nodeid)].append(item)
    seconds = {unit: _seconds(unit, tests, known) for unit, tests in together.items()}
    return [item for unit in sorted(together, key=lambda unit: -seconds[unit]) for item in together[unit]]


def _seconds(unit: str, tests: Sequence[pytest.Item], known: Mapping[str, float]) -> float:
    """What a unit takes: as it did, as the other parameters of its file do, or by its marks."""
    if unit in known:
        return known[unit]
    file, bracket, _ = unit.partition("[")
    siblings = [seconds for name, seconds in known.items() if name.startswith(f"{file}[")]
    if bracket and siblings:
        return sum(siblings) / len(siblings)
    return sum(SLOW_S if test.get_closest_marker("slow") else QUICK_S for test in tests)


def kept() -> dict[str, float]:
    """Seconds that units took in the run that was kept."""
    found: dict[str, float] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    return found


class Durations:
    """Seconds by unit, set up and torn down included, of the tests that ran; a plugin of pytest's."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._units = Units(root)
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[self._units.of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write them over those of earlier runs; units that did not run now stay as they are."""
        known = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        known |= {unit: round(seconds, 1) for unit, seconds in self._seconds.items()}
        longest = sorted(known.items(), key=lambda pair: (-pair[1], pair[0]))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        shown = {unit: seconds for unit, seconds in longest if seconds >= SHORTEST_KEPT_S}
        self._path.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
