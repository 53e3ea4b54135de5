"""edgepack's planner against the toolchains that people use by hand, at the same quality, in turn in one process."""

import datetime as dt
import json
import os
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from edgepack.runtime.environment import capture
from edgepack.toolchain.subprocesses import run_tool
from edgepack.toolchain.vendors.openvino_ir import QUIET
from tests.benchmarks.peers import base, models, ours, store, table

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(
        find_spec("executorch") is None, reason="the extra peers is not installed: run make bench-peers"
    ),
]
SECONDS = 240.0
TASKS = list(dict.fromkeys(row.task for row in models.ROWS))


@pytest.fixture(scope="session")
def page():
    """Collects results and verdicts; prints the table at the end, and writes it when no row was left out."""
    results: dict[str, tuple[dict[str, Any], dict[str, int]]] = {}
    verdicts: dict[str, table.Verdict] = {}
    yield results, verdicts
    if not verdicts:
        return
    machine = capture(1, spinning=False)
    versions = {name: version for key in base.PEERS for name, version in base.peer(key).versions().items()}
    facts = {
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "cpu": machine.cpu_model,
        "versions": versions,
        "load": max(result["load"] for result, _ in results.values()),
    }
    made = table.page(list(verdicts.values()), {task: result for task, (result, _) in results.items()}, facts)
    print(f"\n{made}")
    if len(verdicts) == len(models.ROWS):
        table.PLACE.write(made, [table.DOCS])


@pytest.fixture(scope="session")
def measured(page, tmp_path_factory):
    """Result of a task and the places of our entries by row; every task is measured once."""
    results, _ = page

    def get(task):
        if task not in results:
            results[task] = _measure(task, tmp_path_factory.mktemp("peers"))
        return results[task]

    return get


@pytest.mark.parametrize("row", models.ROWS, ids=lambda row: row.title)
def test_as_fast_as_the_fastest_peer(row, measured, page):
    result, places = measured(row.task)
    found = table.verdict(row, places[row.title], result)
    page[1][row.title] = found
    print(f"\n{row.title}: {found}")
    assert not found.missed, "; ".join(found.missed)


def _measure(task, folder):
    entries: list[dict[str, Any]] = [
        {"who": base.peer(name).title, "form": form, "peer": name, "folder": str(made)}
        for name in base.PEERS
        for form, made in store.forms(task, name)
    ]
    places, known = {}, {}
    for number, row in enumerate(row for row in models.ROWS if row.task == task):
        artifact = ours.export(row, folder / f"bundle-{number}")
        if artifact.sha256 not in known:
            known[artifact.sha256] = len(entries)
            entries.append({"who": ours.TITLE, "form": artifact.form, "ours": artifact._asdict()})
        places[row.title] = known[artifact.sha256]
    plan, answer = folder / "plan.json", folder / "result.json"
    plan.write_text(json.dumps({"task": task, "entries": entries, "seconds": SECONDS}))
    command = [sys.executable, "-m", "tests.benchmarks.peers.measure", str(plan), str(answer)]
    path = os.pathsep.join([str(models.ROOT), os.environ.get("PYTHONPATH", "")])
    run_tool(
        "bench-peers",
        command,
        time_limit_s=3600.0,
        cwd=models.ROOT,
        expect=[answer],
        env={**QUIET, "PYTHONPATH": path},
    )
    return json.loads(answer.read_text()), places
