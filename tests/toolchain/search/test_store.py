"""Trials survive: half lines, killed workers, several processes at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from edgepack.toolchain.presence import file_lock
from edgepack.toolchain.search.run import search
from edgepack.toolchain.search.settings import JOURNAL_FILE
from edgepack.toolchain.search.store import LOST, OWNER, REPLACES, STUDIES, Store
from edgepack.toolchain.search.trials import CANDIDATE, MEASURED, points


def one_trial(store: Store) -> None:
    trial = store.studies["search"].ask()
    trial.set_user_attr(OWNER, store.owner)
    x = trial.suggest_categorical("x", [0.0, 1.0, 2.0])
    store.studies["search"].tell(trial, (x, x, x))


def test_a_half_line_of_a_dead_writer_does_not_spoil_the_journal(tmp_path):
    store = Store(tmp_path)
    one_trial(store)
    store.close()
    journal = tmp_path / JOURNAL_FILE
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:20])
    again = Store(tmp_path)
    one_trial(again)
    assert [trial.state.name for trial in again.trials("search")] == ["COMPLETE"] * 2
    again.close()
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_a_trial_of_a_process_that_is_gone_is_put_back_once(tmp_path):
    gone = Store(tmp_path)
    trial = gone.studies["search"].ask()
    trial.set_user_attr(OWNER, gone.owner)
    value = trial.suggest_categorical("x", [0.0, 1.0, 2.0])
    here = Store(tmp_path)
    with here.lock:
        assert here.reap() == 0, "its worker lives"
    gone.close()
    with here.lock:
        assert here.reap() == 1
        assert here.reap() == 0
    lost, back = here.trials("search")
    assert (lost.state.name, lost.user_attrs[LOST]) == ("FAIL", True)
    assert (back.state.name, back.user_attrs[REPLACES]) == ("WAITING", 0)
    again = here.studies["search"].ask()
    assert again.suggest_categorical("x", [0.0, 1.0, 2.0]) == value
    here.close()


def test_a_reaper_that_dies_between_its_two_steps_puts_nothing_back_twice(tmp_path):
    gone = Store(tmp_path)
    trial = gone.studies["search"].ask()
    trial.set_user_attr(OWNER, gone.owner)
    trial.suggest_categorical("x", [0.0, 1.0, 2.0])
    gone.close()
    here = Store(tmp_path)
    # The first of the reaper's two steps, and then nothing.
    here.studies["search"].enqueue_trial(trial.params, user_attrs={REPLACES: trial.number})
    with here.lock:
        here.reap()
    assert [t.state.name for t in here.trials("search")] == ["FAIL", "WAITING"]
    here.close()


def test_what_was_put_there_and_not_looked_at_is_not_lost_either(tmp_path):
    gone = Store(tmp_path)
    gone.studies["uniform"].enqueue_trial({"x": 1.0}, user_attrs={"start": "fp32"})
    gone.studies["uniform"].ask()
    gone.close()
    here = Store(tmp_path)
    with here.lock:
        here.reap()
    back = here.trials("uniform")[-1]
    assert back.user_attrs == {"start": "fp32", REPLACES: 0}
    assert here.studies["uniform"].ask().suggest_categorical("x", [0.0, 1.0, 2.0]) == 1.0
    here.close()


@pytest.fixture(scope="module")
def begun(digits, tmp_path_factory) -> Path:
    """A search of one candidate a side, which others go on with."""
    folder = tmp_path_factory.mktemp("begun") / "search"
    search(
        digits.model, out=folder, trials=1, timing_s=0.05, calibration=str(digits.calibration),
        calibration_samples=24, seed=3,
    )  # fmt: skip
    return folder


def candidates(store: Store, side: str) -> list[str]:
    """Every candidate that was measured on a side, as text."""
    return [
        json.dumps(trial.user_attrs[CANDIDATE], sort_keys=True)
        for trial in store.trials(side)
        if trial.state.name == "COMPLETE" and MEASURED in trial.user_attrs
    ]


def running(folder: Path) -> bool:
    """Whether some trial has been handed out and not finished, by the journal's own lines."""
    store = Store(folder)
    try:
        return any(t.state.name == "RUNNING" for side in STUDIES for t in store.trials(side))
    finally:
        store.close()


@pytest.mark.slow
def test_a_killed_search_goes_on_and_nothing_is_lost_or_doubled(begun):
    command = [
        sys.executable,
        "-m",
        "edgepack",
        "search",
        "--resume",
        "--out",
        begun,
        "--trials",
        "8",
        "--quiet",
    ]
    for _ in range(2):
        process = subprocess.Popen([*map(str, command)])
        until = time.monotonic() + 600
        while not running(begun):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert running(begun), "a killed process cannot tidy up"
    results = search(resume=True, out=begun)
    assert results.trials == 8
    store = Store(begun)
    for side in ("search", "random"):
        measured = candidates(store, side)
        assert len(measured) == 8
        assert max(Counter(measured).values()) == 1, "no candidate is measured twice"
        trials = store.trials(side)
        assert [t for t in trials if t.state.name in {"RUNNING", "WAITING"}] == []
        replaced = Counter(t.user_attrs[REPLACES] for t in trials if REPLACES in t.user_attrs)
        assert all(count == 1 for count in replaced.values())
        for trial in trials:
            if LOST in trial.user_attrs and CANDIDATE in trial.user_attrs:
                known = measured + candidates(store, "uniform")
                assert json.dumps(trial.user_attrs[CANDIDATE], sort_keys=True) in known
    lost = [t for side in STUDIES for t in store.trials(side) if LOST in t.user_attrs]
    store.close()
    assert lost
    assert list((begun / "scratch").iterdir()) == [], "what the killed ones left is removed"


@pytest.mark.slow
def test_two_processes_share_a_search(begun):
    results = search(resume=True, out=begun, trials=12, workers=2)
    store = Store(begun)
    trials = [trial for side in ("search", "random") for trial in store.trials(side)]
    owners = Counter(trial.user_attrs[OWNER] for trial in trials if MEASURED in trial.user_attrs)
    for side in ("search", "random"):
        measured = candidates(store, side)
        assert len(measured) == 12 == len(points(store, side))
        assert max(Counter(measured).values()) == 1
    store.close()
    assert len(owners) >= 3, "the one that began it, and two more"
    assert [side.trials for side in results.sides] == [12, 12]


@pytest.mark.slow
def test_timings_take_turns(begun, own_cache):
    from edgepack.toolchain.cache import Cache
    from edgepack.toolchain.search import settings
    from edgepack.toolchain.search.measure import Bench

    with Cache() as cache:
        bench = Bench(begun, settings.read(begun), cache)
        bench.float_session()
        calls: list[int] = []
        thread = threading.Thread(target=bench.time_together, args=({"x": lambda: calls.append(1)}, 0.05))
        other = file_lock(begun / "timing.lock")
        with other:
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()
            assert not calls, "another process is timing"
        thread.join(30)
        assert calls
        bench.close()
