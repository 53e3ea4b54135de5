"""`python3 runner.pyz check|measure|child request.json`, in the run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.runtime.devices.runner import parts, plans, readings
from edgepack.toolchain.answers import error_in, read_answer, write_answer
from edgepack.toolchain.errors import DeviceError

RESULT = "result.json"


def main() -> None:
    """Do what the arguments ask; whatever is wrong with it stands in the result."""
    if len(sys.argv) != 3 or sys.argv[1] not in {"check", "measure", "child"}:  # noqa: PLR2004
        sys.exit(f"{sys.argv[0]} check|measure request.json")
    word, request = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    if word == "child":
        from edgepack.runtime.devices.runner.measure import measure

        write_answer(Path(request["answer"]), lambda: measure(request))
    elif word == "check":
        from edgepack.runtime.devices.runner.check import check

        write_answer(Path(RESULT), lambda: check(request))
    else:
        write_answer(Path(RESULT), lambda: _measure_all(request))


def _measure_all(request: Mapping[str, Any]) -> dict[str, Any]:
    """Every unit on every plan, each in a process of its own: memory is its own, and so are its cores."""
    parts.check_hashes(request)
    clusters = readings.clusters(Path(request["root"]))
    found: list[dict[str, Any]] = []
    for name in request["plans"]:
        plan = plans.resolve(name, clusters, request["threads"])
        for unit in request["units"]:
            entry = {"unit": unit["name"], **plan}
            if "skipped" not in plan:
                if found and request["cool_down_s"]:
                    time.sleep(request["cool_down_s"])
                entry |= _child(request, unit, plan, len(found))
            found.append(entry)
    return {"clusters": clusters, "measured": found}


def _child(
    request: Mapping[str, Any], unit: Mapping[str, Any], plan: Mapping[str, Any], number: int
) -> dict[str, Any]:
    asked = {
        **request,
        "unit": unit,
        "plan": plan,
        "samples": f"samples-{number}.f64",
        "answer": f"answer-{number}.json",
    }
    place = Path(f"request-{number}.json")
    place.write_text(json.dumps(asked))
    # The archive, and this interpreter with the switches that it was started with.
    command = [sys.executable, sys.argv[0], "child", str(place)]
    done = subprocess.run(command, check=False)  # noqa: S603 - ourselves
    if done.returncode != 0 or not Path(asked["answer"]).is_file():
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise DeviceError(
            f"Measuring {unit['name']} ({plan['plan']}) ended with {how} on the device",
            todo="A kill (signal 9) is often for want of memory",
        )
    answer = read_answer(Path(asked["answer"]))
    error = error_in(answer)
    if error is not None:
        raise error
    return {key: value for key, value in answer.items() if key != "ok"}
