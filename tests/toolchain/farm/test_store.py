"""The database: what is good, nothing doubled, several writers, and errors in words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgepack.toolchain.errors import ToolchainMissingError, UsageError
from edgepack.toolchain.farm.compare import judged
from edgepack.toolchain.farm.store import Store
from tests.toolchain.farm.figures import result

WRITER = """
import sys
from edgepack.toolchain.farm.results import FarmResult
from edgepack.toolchain.farm.store import Store
with Store(sys.argv[1]) as store:
    for number in range(20):
        run = store.begin("now", "0")
        store.add(run, FarmResult(device=sys.argv[2], address="local", bundle=str(number), p50_ms=number))
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'farm.db'}"


def day(store, *results):
    run = store.begin("now", "0")
    for one in results:
        store.add(run, judged(one, store.last_good(one.key, run), 0.1))
    return run


def test_a_worse_run_is_not_what_the_next_is_held_against(url):
    with Store(url) as store:
        day(store, result(1.0))
        day(store, result(1.05))
        slow = day(store, result(2.0))
        after = store.begin("now", "0")
        good = store.last_good(result().key, after)
        assert good.p50_ms == 1.05
        assert judged(result(2.0), good, 0.1).verdict == "worse"
        assert store.last_good(result().key, 1) is None
        assert store.accept(slow) == 1
        assert store.accept(slow) == 0
        assert store.last_good(result().key, after).p50_ms == 2.0


def test_what_differs_is_not_compared(url):
    with Store(url) as store:
        day(store, result(1.0))
        run = store.begin("now", "0")
        for other in ("device", "bundle", "target", "unit", "plan", "precision", "settings"):
            assert store.last_good(result(**{other: "other"}).key, run) is None, other


def test_a_failure_is_missed_once_for_every_figure_that_there_was(url):
    with Store(url) as store:
        day(store, result(1.0), result(1.0, precision="int8"), result(1.0, device="other"))
        day(store, result(1.0, precision="int8"), result(1.0, target="mobile:litert"))
        run = day(store, result(None, error="x", target="", unit="", plan="", precision=""))
        lost = result(None, error="x", target="", unit="", plan="", precision="")
        assert [(one.target, one.precision) for one in store.had(lost, run)] == [
            ("cpu:onnxruntime", "int8"),
            ("mobile:litert", "fp32"),
        ]
        only = lost.model_copy(update={"target": "mobile:litert"})
        assert [one.target for one in store.had(only, run)] == ["mobile:litert"]


def test_nothing_is_there_twice(url):
    with Store(url) as store:
        run = store.begin("now", "0")
        store.add(run, result())
        with pytest.raises(UsageError, match="UNIQUE"):
            store.add(run, result(2.0))
        store.add(run, result(plan="all"))


def test_two_processes_at_once(url):
    with Store(url) as store:
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, name]) for name in ("a", "b")]
        assert [writer.wait(120) for writer in writers] == [0, 0]
        assert store.last_run() == 40
        for name in ("a", "b"):
            for number in range(20):
                key = result(
                    device=name, bundle=str(number), target="", unit="", plan="", precision="", settings=""
                ).key
                assert store.last_good(key, 41).p50_ms == number


def test_names_are_values(url):
    evil = "'; DROP TABLE results; --"
    with Store(url) as store:
        run = day(store, result(device=evil))
        assert store.last_good(result(device=evil).key, run + 1).device == evil


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("sqlite:////proc/none/farm.db", UsageError, "cannot be used"),
        ("no url at all", UsageError, "cannot be used"),
        ("postgresql://me:secret@db/farm", ToolchainMissingError, "driver is not installed"),
    ],
)
def test_databases_that_do_not_serve(url, error, said):
    with pytest.raises(error, match=said) as found:
        Store(url)
    assert "secret" not in str(found.value)


def test_without_sqlalchemy(monkeypatch, url):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ToolchainMissingError, match=r"edgepack\[farm\]"):
        Store(url)
